"""A checkpoint's weights as floats, whatever layout they are in, one at a time. Needs torch.

Written from the published formats alone and without the quantizer's own packing, which it is there to check.
`python -m quantserve.quantize.methods.proof.stored SOURCE OUTPUT` writes the plain 16-bit checkpoint that a
GPTQ or AWQ checkpoint stands for.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from quantserve.core.checkpoints import NAMED_IN_CONFIG
from quantserve.core.errors import InputError
from quantserve.core.files import remove_tree, write_json
from quantserve.quantize.methods.formats.checkpoint import (
    CheckpointWriter,
    copy_companions,
    half_of,
    read_config,
    tensor_files,
)
from quantserve.quantize.models.checks import check_checkpoint, read_json
from quantserve.quantize.worker import die_with_parent

_INT32_BITS = 32
# What stands for a quantized weight, by suffix.
_PACKED = ("qweight", "weight_packed")
_SCALES = ("qzeros", "scales", "g_idx", "weight_scale", "weight_zero_point", "weight_shape", "SCB")
_PARTS = (*_PACKED, *_SCALES, "weight_format")
# Where output 0…7 of eight lies in AWQ's int32.
_AWQ_PLACES = (0, 4, 1, 5, 2, 6, 3, 7)


def unpack(packed: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the values of each int32 as a new last axis, lowest bits first.

    3 bits lie across words: 32 values in three of them, as AutoGPTQ packs them.
    """
    if bits != 3:
        shifts = torch.arange(0, _INT32_BITS, bits, dtype=torch.int32)
        return (packed[..., None] >> shifts) & ((1 << bits) - 1)
    words = packed.to(torch.int64) & 0xFFFFFFFF
    triples = words.view(*words.shape[:-1], -1, 3)
    stream = triples[..., 0] | (triples[..., 1] << 32)
    low = [(stream >> shift) & 7 for shift in range(0, 63, 3)]
    rest = ((stream >> 63) & 1) | ((triples[..., 2] & 3) << 1)
    high = [(triples[..., 2] >> shift) & 7 for shift in range(2, 32, 3)]
    return torch.stack([*low, rest, *high], -1).to(torch.int32)


def codes_of(
    parts: dict[str, torch.Tensor], settings: Mapping[str, Any]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return codes (output, input), zero points and scales (output, groups) of one packed module.

    settings: `quantization_config`. The first version of AutoGPTQ's format stores zero points less one.

    Raises:
        InputError: the groups are not in order along the input.
    """
    codes, zeros, scales = _unpacked(parts, settings)
    order = parts.get("g_idx")
    if order is not None and not torch.equal(order.long(), _in_order(codes, scales)):
        raise InputError("The groups of a module are reordered on disk")
    return codes.T.contiguous(), zeros.T.contiguous(), scales.T.contiguous()


def dequantize(parts: dict[str, torch.Tensor], settings: Mapping[str, Any]) -> torch.Tensor:
    """Return a weight (output, input) from AutoGPTQ's or AutoAWQ's tensors; settings as in `codes_of`."""
    codes, zeros, scales = _unpacked(parts, settings)
    group = parts["g_idx"].long() if "g_idx" in parts else _in_order(codes, scales)
    return ((codes - zeros[group]) * scales[group]).T.contiguous()


def _unpacked(
    parts: dict[str, torch.Tensor], settings: Mapping[str, Any]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return codes (input, output), zero points and scales (groups, output)."""
    bits = int(settings.get("bits") or settings["w_bit"])
    scales = parts["scales"].float()
    if settings["quant_method"] == "awq":
        codes, zeros = (
            unpack(parts[name], bits)[..., list(_AWQ_PLACES)].flatten(1) for name in ("qweight", "qzeros")
        )
        return codes, zeros, scales
    codes = unpack(parts["qweight"].T.contiguous(), bits).flatten(1).T
    zeros = unpack(parts["qzeros"], bits).flatten(1)
    if settings.get("checkpoint_format") != "gptq_v2":
        zeros = (zeros + 1) & ((1 << bits) - 1)
    return codes, zeros, scales


def _in_order(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    return torch.arange(codes.shape[0]) // (codes.shape[0] // scales.shape[0])


class StoredWeights:
    """The tensors of a checkpoint's directory by the names of an unquantized one."""

    def __init__(self, directory: Path, settings: Mapping[str, Any] | None = None) -> None:
        """Open the files, reading nothing. `settings`: how they are quantized, where not in config.json."""
        config = read_json(directory / "config.json")
        self.settings: Mapping[str, Any] = settings or config.get("quantization_config") or {}
        self._files = tensor_files(directory)
        split = [name.rpartition(".") for name in self._files]
        self.quantized = frozenset(
            stem for stem, _, suffix in split if suffix in (*_PACKED, "weight_scale", "SCB")
        )

    def names(self) -> set[str]:
        """Return the names an unquantized checkpoint would have."""
        plain = {name for name in self._files if name.rpartition(".")[2] not in _PARTS}
        return plain | {f"{name}.weight" for name in self.quantized}

    def get(self, name: str) -> torch.Tensor:
        """Return one tensor; floats become float32."""
        module = name.removesuffix(".weight")
        if module in self.quantized:
            return self._dequantized(module)
        tensor = self._read(name)
        return tensor.float() if tensor.is_floating_point() else tensor

    def _read(self, name: str) -> torch.Tensor:
        """Return one tensor as it is; the file is mapped no longer than that."""
        with safe_open(self._files[name], framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(name)
        return tensor

    def parts(self, module: str) -> dict[str, torch.Tensor]:
        """Return the tensors that stand for a quantized module's weight, by suffix, as they are."""
        return {
            suffix: self._read(f"{module}.{suffix}")
            for suffix in ("weight", *_PARTS)
            if f"{module}.{suffix}" in self._files
        }

    def _dequantized(self, module: str) -> torch.Tensor:
        parts = self.parts(module)
        if "qweight" in parts:
            return dequantize(parts, self.settings)
        if "weight_packed" in parts:
            return _packed(parts, self._bits(module))
        if "SCB" in parts:
            return parts["weight"].float() * parts["SCB"].float()[:, None] / 127
        return parts["weight"].float() * parts["weight_scale"].float()

    def _bits(self, module: str) -> int:
        """Return the width of a packed module: that of the group whose format is packed."""
        groups = self.settings["config_groups"].values()
        return int(next(g["weights"]["num_bits"] for g in groups if "pack" in str(g.get("format", "pack"))))


def _packed(parts: dict[str, torch.Tensor], bits: int) -> torch.Tensor:
    """Return a weight (output, input) from compressed-tensors' `pack-quantized` tensors.

    Codes and zero points are stored shifted up by half their range, as unsigned values.
    """
    rows, columns = parts["weight_shape"].tolist()
    codes = unpack(parts["weight_packed"], bits).flatten(1)[:, :columns].float()
    scales = parts["weight_scale"].float()
    zeros = torch.full_like(scales, float(1 << (bits - 1)))
    if "weight_zero_point" in parts:
        zeros = unpack(parts["weight_zero_point"].T.contiguous(), bits).flatten(1).T[:rows].float()
    size = columns // scales.shape[1]
    return (codes - zeros.repeat_interleave(size, 1)) * scales.repeat_interleave(size, 1)


def dequantize_checkpoint(source: Path, output: Path) -> None:
    """Write a plain 16-bit checkpoint of the weights a GPTQ or AWQ checkpoint stands for; appears whole."""
    part = output.with_name(f"{output.name}.part")
    remove_tree(part)
    part.mkdir(parents=True)
    config = read_config(source)
    stored = StoredWeights(source, check_checkpoint(source).quantization)
    for name in ("quantization_config", NAMED_IN_CONFIG):
        config.pop(name, None)
    writer = CheckpointWriter(part, half_of(config))
    for name in sorted(stored.names()):
        writer.add_weight(name, stored.get(name))
    writer.finish()
    dtype = "bfloat16" if writer.widened else str(half_of(config)).removeprefix("torch.")
    write_json(part / "config.json", {**config, "dtype": dtype}, allow_nan=True)
    copy_companions(source, part)
    part.rename(output)


if __name__ == "__main__":
    die_with_parent()
    dequantize_checkpoint(Path(sys.argv[1]), Path(sys.argv[2]))
