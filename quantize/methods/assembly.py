"""From quantized modules, or weights rounded one by one, to the checkpoint the engine loads. Needs torch."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from quantserve.quantize.methods.formats import packing
from quantserve.quantize.methods.formats.checkpoint import (
    CheckpointWriter,
    copy_companions,
    read_config,
    read_tensors,
    stored_dtype,
    tensor_names,
    write_config,
)
from quantserve.quantize.methods.formats.layouts import Layout, settings
from quantserve.quantize.methods.formats.packing import Quantized
from quantserve.quantize.methods.formats.recipe import UNQUANTIZED, Recipe
from quantserve.quantize.methods.job import QuantizationJob, Report
from quantserve.quantize.methods.layers.layer import quantize_weights
from quantserve.quantize.methods.layers.layer_files import LayerFiles


class ResultWriter(CheckpointWriter):
    """Writes a quantized checkpoint in a layout, with the base's configuration and what goes along."""

    def __init__(self, model: Path, output: Path, layout: Layout) -> None:
        """`model` is the base."""
        self._config = read_config(model)
        self._storage = stored_dtype(self._config, layout)
        super().__init__(output, self._storage)
        self._model, self._layout = model, layout

    def add_parts(self, module: str, parts: dict[str, torch.Tensor]) -> None:
        """Take the tensors that stand for a module's weight, by suffix."""
        for suffix, tensor in parts.items():
            self.add(f"{module}.{suffix}", tensor)

    def add_quantized(self, module: str, weights: Quantized) -> None:
        """Take a quantized weight."""
        self.add_parts(module, packing.tensors_of(weights, self._layout, module))

    def close(self, quantization: dict[str, Any] | None = None) -> None:
        """Write what is left; `quantization` is what config.json says, by default the layout's settings."""
        self.finish()
        wide = self._layout.wide or self.widened
        write_config(
            self._config, self._output, quantization or settings(self._layout), self._storage, wide=wide
        )
        copy_companions(self._model, self._output)


def assemble(
    model: Path, output: Path, layout: Layout, recipe: Recipe, layers: LayerFiles, experts: Collection[str]
) -> None:
    """Write the checkpoint from the finished layers and the rest of the base checkpoint.

    Experts, which the model holds merged, are rounded plainly one by one.
    """
    stored = tensor_names(model)
    writer = ResultWriter(model, output, layout)
    replaced: set[str] = set()
    for index in range(layers.count()):
        layer = layers.read(index)
        for name, weights in layer.quantized.items():
            replaced.add(f"{name}.weight")
            writer.add_quantized(name, weights)
        for name, tensor in layer.others.items():
            if name in stored:
                replaced.add(name)
                writer.add_weight(name, tensor)
    for name, tensor in read_tensors(model):
        module = name.removesuffix(".weight")
        if name in replaced:
            continue
        if module in experts and recipe.width(module) != UNQUANTIZED:
            weights = quantize_weights(tensor.float(), recipe.width(module), recipe, None)
            writer.add_quantized(module, weights)
        else:
            writer.add_weight(name, tensor)
    writer.close()


def quantize_plainly(
    job: QuantizationJob, report: Report, layout: Layout, recipe: Recipe, names: list[str]
) -> None:
    """Quantize the named modules one after the other; everything else is copied."""
    wanted = set(names)
    writer = ResultWriter(job.model_dir, job.output_dir, layout)
    report("stage", text="Quantizing")
    done = 0
    for name, tensor in read_tensors(job.model_dir):
        module = name.removesuffix(".weight")
        if module not in wanted or recipe.width(module) == UNQUANTIZED:
            writer.add_weight(name, tensor)
            continue
        if layout.format == "fp8":
            writer.add_parts(module, packing.fp8(tensor))
        else:
            weights = quantize_weights(tensor.float(), recipe.width(module), recipe, None)
            writer.add_quantized(module, weights)
        done += 1
        report("layer", done=done, of=len(wanted))
    report("stage", text="Saving")
    writer.close()


def quantize_to_llm_int8(
    job: QuantizationJob, report: Report, settings: dict[str, Any], names: list[str]
) -> None:
    """Write the named modules in bitsandbytes' 8-bit layout."""
    wanted = set(names)
    writer = ResultWriter(job.model_dir, job.output_dir, Layout("int8", 8, -1, True, {}, job.wide))
    report("stage", text="Quantizing")
    for name, tensor in read_tensors(job.model_dir):
        module = name.removesuffix(".weight")
        if module in wanted:
            writer.add_parts(module, packing.llm_int8(tensor))
        else:
            writer.add_weight(name, tensor)
    writer.close({"quant_method": "bitsandbytes", **settings})
