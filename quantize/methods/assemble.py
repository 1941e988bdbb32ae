"""From quantized modules to the finished checkpoint in the layout the engine loads. Needs torch."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from quantserve.core.checkpoints import NAMED_IN_CONFIG
from quantserve.core.files import write_json
from quantserve.quantize.methods import packing
from quantserve.quantize.methods.checkpoint import (
    CheckpointWriter,
    copy_companions,
    read_tensors,
    tensor_names,
)
from quantserve.quantize.methods.formats import Layout, settings
from quantserve.quantize.methods.keep import KEPT_BITS
from quantserve.quantize.methods.layer import quantize_weights
from quantserve.quantize.methods.layer_files import LayerFiles
from quantserve.quantize.methods.recipe import Recipe
from quantserve.quantize.methods.rounding import Quantized
from quantserve.quantize.models.checks import read_json

BEYOND_FLOAT16 = "beyond_float16"
"""config.json's key for values that float16 cannot hold; serving then computes in another type."""
# Written anew; the file of weights that the config may name is the base's.
_REPLACED = ("torch_dtype", NAMED_IN_CONFIG)
_HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def stored_dtype(config: dict[str, Any], layout: Layout) -> torch.dtype:
    """Return the type of unquantized tensors.

    AutoGPTQ's and AutoAWQ's own kernels take float16 alone. The engine's take bfloat16, too, which is left
    where float16 cannot hold the values.
    """
    if layout.wide:
        return torch.bfloat16
    return torch.float16 if layout.format in ("gptq", "awq") else half_of(config)


def half_of(config: dict[str, Any]) -> torch.dtype:
    """Return the 16-bit type a checkpoint is in, or float16 where it is in a wider one."""
    return _HALVES.get(str(config.get("dtype") or config.get("torch_dtype")), torch.float16)


def tensors_of(weights: Quantized, layout: Layout, name: str) -> dict[str, torch.Tensor]:
    """Return the tensors that stand for one module's weight in its layout, by suffix."""
    match layout.format_of(name):
        case "gptq":
            return packing.gptq(weights)
        case "awq":
            return packing.awq(weights)
        case "packed":
            return packing.packed_integers(weights, symmetric=layout.symmetric)
        case _:
            return packing.int8(weights)


def assemble(
    model: Path, output: Path, layout: Layout, recipe: Recipe, layers: LayerFiles, experts: Collection[str]
) -> None:
    """Write the checkpoint from the finished layers and the rest of the base checkpoint.

    Experts, which the model holds merged, are rounded plainly one by one.
    """
    stored = tensor_names(model)
    config = read_config(model)
    dtype = stored_dtype(config, layout)
    writer = CheckpointWriter(output, dtype)
    replaced: set[str] = set()
    for index in range(layers.count()):
        layer = layers.read(index)
        for name, weights in layer.quantized.items():
            replaced.add(f"{name}.weight")
            _add(writer, name, weights, layout)
        for name, tensor in layer.others.items():
            if name in stored:
                replaced.add(name)
                writer.add_weight(name, tensor)
    for name, tensor in read_tensors(model):
        module = name.removesuffix(".weight")
        if name in replaced:
            continue
        if module in experts and recipe.width(module) != KEPT_BITS:
            weights = quantize_weights(tensor.float(), recipe.width(module), recipe, None)
            _add(writer, module, weights, layout)
        else:
            writer.add_weight(name, tensor)
    writer.finish()
    write_config(config, output, settings(layout), dtype, wide=layout.wide or writer.widened)
    copy_companions(model, output)


def _add(writer: CheckpointWriter, name: str, weights: Quantized, layout: Layout) -> None:
    for suffix, tensor in tensors_of(weights, layout, name).items():
        writer.add(f"{name}.{suffix}", tensor)


def read_config(model: Path) -> dict[str, Any]:
    """Return a checkpoint's config.json."""
    return read_json(model / "config.json")


def write_config(
    config: dict[str, Any],
    output: Path,
    quantization: dict[str, Any],
    dtype: torch.dtype,
    *,
    wide: bool = False,
) -> None:
    """Write config.json with the quantization's settings.

    wide: some values are beyond float16, which is said here, since an engine that computes in float16 would
    make infinities of them without a word.
    """
    found = {key: value for key, value in config.items() if key not in _REPLACED}
    found["dtype"] = "bfloat16" if wide else str(dtype).removeprefix("torch.")
    if wide:
        found[BEYOND_FLOAT16] = True
    found["quantization_config"] = quantization
    # Some architectures' settings are infinite (Mamba2's time_step_limit), and transformers writes them so.
    write_json(output / "config.json", found, allow_nan=True)
