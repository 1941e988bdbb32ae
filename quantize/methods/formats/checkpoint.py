"""Reading and writing checkpoints tensor by tensor, never all of one in memory. Needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from quantserve.core.checkpoints import INDEX, NAMED_IN_CONFIG, WEIGHTS, find_weights
from quantserve.core.errors import InputError
from quantserve.core.files import write_json
from quantserve.quantize.methods.formats.layouts import Layout
from quantserve.quantize.models.checks import CheckpointError, read_json
from quantserve.quantize.models.companions import copy_companions as copy_companions

BEYOND_FLOAT16 = "beyond_float16"
"""config.json's key for values that float16 cannot hold; serving then computes in another type."""
# Written anew; the file of weights that the config may name is the base's.
_REPLACED = ("torch_dtype", NAMED_IN_CONFIG)
_HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
_SHARD_BYTES = 4_000_000_000


def read_tensors(directory: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield every tensor of a checkpoint by name: those that its config or index names, and no others."""
    weights = find_weights(directory, read_json(directory / "config.json"), error=CheckpointError)
    for path in weights.files:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  no mapping
                if weights.holds(path, name):
                    yield name, file.get_tensor(name)


def storable(name: str, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return a tensor as it may be written: floats in `dtype`, or in bfloat16 where `dtype` cannot hold them.

    Raises:
        InputError: a value is NaN or infinite.
    """
    if not tensor.is_floating_point():
        return tensor
    cast = tensor.to(dtype)
    if not _finite(cast) and _finite(tensor):
        cast = tensor.to(torch.bfloat16)
    return require_finite(name, cast)


def require_finite(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor that holds numbers alone.

    Raises:
        InputError: a value is NaN or infinite, so what would be written is worthless.
    """
    if not _finite(tensor):
        raise InputError(
            f"The tensor {name} would be written with values that are NaN or infinite",
            mend="The model, or the adapter merged into it, has values there that cannot be stored",
        )
    return tensor


def _finite(tensor: torch.Tensor) -> bool:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    # torch has no isfinite for types of 8 bits
    return bool(torch.isfinite(tensor.float() if tensor.element_size() == 1 else tensor).all())


def tensor_files(directory: Path) -> dict[str, Path]:
    """Return the file of each of a checkpoint's tensors: those that its config or index names."""
    weights = find_weights(directory, read_json(directory / "config.json"), error=CheckpointError)
    found: dict[str, Path] = {}
    for path in weights.files:
        with safe_open(path, framework="pt") as file:
            found |= {name: path for name in file.keys() if weights.holds(path, name)}  # noqa: SIM118
    return found


def tensor_names(directory: Path) -> set[str]:
    """Return the names of a checkpoint's tensors."""
    return set(tensor_files(directory))


class CheckpointWriter:
    """Collects tensors into shards; `finish` names them as loaders expect."""

    def __init__(self, output: Path, dtype: torch.dtype) -> None:
        """Write to `output`; unquantized weights become `dtype` where it can hold them."""
        self._output = output
        self._dtype = dtype
        self._waiting: dict[str, torch.Tensor] = {}
        self._bytes = 0
        self._shards: list[tuple[Path, list[str]]] = []
        self.widened = False
        """Whether a tensor was stored in bfloat16 because `dtype` could not hold it."""

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Take one tensor as it is.

        Raises:
            InputError: it holds NaN or infinity.
        """
        self._waiting[name] = require_finite(name, tensor).contiguous()
        self._bytes += tensor.nbytes
        if self._bytes >= _SHARD_BYTES:
            self._flush()

    def add_weight(self, name: str, tensor: torch.Tensor) -> None:
        """Take one unquantized tensor in the checkpoint's type.

        Raises:
            InputError: it holds NaN or infinity.
        """
        stored = storable(name, tensor, self._dtype)
        self.widened |= stored.is_floating_point() and stored.dtype != self._dtype
        self.add(name, stored)

    def _flush(self) -> None:
        path = self._output / f"part-{len(self._shards) + 1:05d}.safetensors"
        save_file(self._waiting, path, metadata={"format": "pt"})
        self._shards.append((path, list(self._waiting)))
        self._waiting, self._bytes = {}, 0

    def finish(self) -> None:
        """Write what is left, and an index where there are several shards."""
        if self._waiting:
            self._flush()
        total = len(self._shards)
        if total == 1:
            self._shards[0][0].rename(self._output / WEIGHTS)
            return
        weight_map: dict[str, str] = {}
        size = 0
        for number, (path, names) in enumerate(self._shards, start=1):
            final = self._output / f"model-{number:05d}-of-{total:05d}.safetensors"
            path.rename(final)
            size += final.stat().st_size
            weight_map |= dict.fromkeys(names, final.name)
        write_json(self._output / INDEX, {"metadata": {"total_size": size}, "weight_map": weight_map})


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
