"""What a quantized checkpoint's files stand for, read by code that shares nothing with the quantizer's.

The layouts are those of AutoGPTQ, AutoAWQ and compressed-tensors, from their published formats. Needs torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

_AWQ_PLACES = (0, 4, 1, 5, 2, 6, 3, 7)
"""Where output 0…7 of eight lies in an int32 of AutoAWQ's."""
_SUFFIXES = (
    *(".qweight", ".qzeros", ".scales", ".g_idx"),
    *(".weight_packed", ".weight_scale", ".weight_zero_point", ".weight_shape"),
)


@dataclass(frozen=True)
class Grid:
    """How one matrix was rounded: `bits` in groups of `group_size` inputs, -1 for a whole row.

    floats: E4M3 instead of integers. inputs: the engine rounds the inputs by token too.
    """

    bits: int
    group_size: int
    symmetric: bool
    floats: bool = False
    inputs: bool = False


@dataclass(frozen=True)
class Stored:
    """A checkpoint: every tensor in float32 by its name in the base, and the grids of those rounded.

    foreign: files of weights that no loader reads.
    """

    config: dict[str, Any]
    weights: dict[str, torch.Tensor]
    grids: dict[str, Grid]
    dtypes: dict[str, torch.dtype]
    foreign: tuple[str, ...]


def read(directory: Path) -> Stored:
    """Read a checkpoint, quantized or not; of the files those that its index names."""
    config: dict[str, Any] = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    index = directory / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    tensors: dict[str, torch.Tensor] = {}
    for name in names:
        with safe_open(directory / name, framework="pt") as file:
            tensors.update({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118  no mapping
    foreign = sorted({path.name for path in directory.glob("*.safetensors")} - set(names))
    return _unpacked(config, tensors, tuple(foreign))


def _unpacked(config: dict[str, Any], tensors: dict[str, torch.Tensor], foreign: tuple[str, ...]) -> Stored:
    settings = config.get("quantization_config") or {}
    weights: dict[str, torch.Tensor] = {}
    grids: dict[str, Grid] = {}
    for name, tensor in tensors.items():
        stem, _, last = name.rpartition(".")
        if last == "qweight":
            weights[f"{stem}.weight"], grids[f"{stem}.weight"] = _by_column(stem, tensors, settings)
        elif last == "weight_packed":
            weights[f"{stem}.weight"], grids[f"{stem}.weight"] = _by_row(stem, tensors, settings)
        elif last == "weight" and f"{stem}.weight_scale" in tensors:
            scale = tensors[f"{stem}.weight_scale"].float()
            weights[name] = tensor.float() * scale
            grids[name] = Grid(8, -1, symmetric=True, floats=tensor.is_floating_point(), inputs=True)
        elif not name.endswith(_SUFFIXES):
            weights[name] = tensor.float() if tensor.is_floating_point() else tensor
    dtypes = {name: tensor.dtype for name, tensor in tensors.items() if name in weights}
    return Stored(config, weights, grids, dtypes, foreign)


def _codes(packed: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the codes of each int32 as a new last axis, lowest bits first."""
    shifts = torch.arange(0, 32, bits)
    return (packed.long()[..., None] >> shifts) & ((1 << bits) - 1)


def _by_column(
    stem: str, tensors: dict[str, torch.Tensor], settings: dict[str, Any]
) -> tuple[torch.Tensor, Grid]:
    """Return AutoGPTQ's or AutoAWQ's matrix (output, input): both store (input, output)."""
    bits = int(settings.get("bits") or settings["w_bit"])
    scales = tensors[f"{stem}.scales"].float()
    codes, zeros = _codes(tensors[f"{stem}.qweight"], bits), _codes(tensors[f"{stem}.qzeros"], bits)
    if settings["quant_method"] == "awq":
        codes, zeros = codes[..., _AWQ_PLACES].flatten(1), zeros[..., _AWQ_PLACES].flatten(1)
        symmetric = False
    else:
        codes, zeros = codes.transpose(1, 2).flatten(0, 1), zeros.flatten(1) + 1
        symmetric = bool(settings.get("sym"))
    size = codes.shape[0] // scales.shape[0]
    groups = torch.arange(codes.shape[0]) // size
    if f"{stem}.g_idx" in tensors:
        groups = tensors[f"{stem}.g_idx"].long()
    weight = ((codes - zeros[groups]).float() * scales[groups]).T.contiguous()
    return weight, Grid(bits, size, symmetric)


def _by_row(
    stem: str, tensors: dict[str, torch.Tensor], settings: dict[str, Any]
) -> tuple[torch.Tensor, Grid]:
    """Return compressed-tensors' packed matrix (output, input), whose codes lie around zero."""
    rows, columns = tensors[f"{stem}.weight_shape"].tolist()
    packed, scales = tensors[f"{stem}.weight_packed"], tensors[f"{stem}.weight_scale"].float()
    schemes = [group["weights"] for group in settings["config_groups"].values()]
    # a word holds 32 / bits codes, so the word count gives the width where groups of several are mixed
    fits = {
        scheme["num_bits"] for scheme in schemes if -(-columns * scheme["num_bits"] // 32) == packed.shape[1]
    }
    bits = int(fits.pop())
    middle = 1 << (bits - 1)
    codes = _codes(packed, bits).flatten(1)[:, :columns].float() - middle
    zeros = torch.zeros_like(scales)
    symmetric = f"{stem}.weight_zero_point" not in tensors
    if not symmetric:
        words = _codes(tensors[f"{stem}.weight_zero_point"], bits)
        zeros = words.transpose(1, 2).flatten(0, 1)[:rows].float() - middle
    size = columns // scales.shape[1]
    weight = (codes - zeros.repeat_interleave(size, 1)) * scales.repeat_interleave(size, 1)
    return weight, Grid(bits, size, symmetric)


def rounded(weight: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Return a matrix (output, input) with every weight at the nearest point of the plainest such grid.

    The grid spans the range of its group as it is; scales are stored in float16, those of 8 bits in float32.
    """
    rows, columns = weight.shape
    size = columns if grid.group_size == -1 else grid.group_size
    parts = weight.float().reshape(rows, columns // size, size)
    reach = parts.abs().amax(-1, keepdim=True).clamp(min=1e-12)
    if grid.floats:
        scale = reach / torch.finfo(torch.float8_e4m3fn).max
        return ((parts / scale).to(torch.float8_e4m3fn).float() * scale).view(rows, columns)
    top = (1 << grid.bits) - 1
    if grid.symmetric:
        middle = (top + 1) // 2
        low = torch.full_like(reach, -middle if grid.bits < 8 else -middle + 1)
        scale = reach / (top / 2 if grid.bits < 8 else middle - 1)
        high = low * 0 + middle - 1
    else:
        least, most = parts.amin(-1, keepdim=True).clamp(max=0), parts.amax(-1, keepdim=True).clamp(min=0)
        scale = (most - least).clamp(min=1e-12) / top
        low = (least / scale).round()
        high = low + top
    scale = scale if grid.bits == 8 else scale.to(torch.float16).float().clamp(min=2.0**-24)
    codes = torch.minimum(torch.maximum((parts / scale).round(), low), high)
    return (codes * scale).view(rows, columns)


def plainly_rounded(base: Stored, like: Stored) -> Stored:
    """Return the base with the same matrices on the same grids, rounded plainly, and the rest as stored."""
    weights = {}
    for name, tensor in base.weights.items():
        grid = like.grids.get(name)
        if grid is not None:
            weights[name] = rounded(tensor, grid)
        elif tensor.is_floating_point() and name in like.dtypes:
            weights[name] = tensor.to(like.dtypes[name]).float()
        else:
            weights[name] = tensor
    return replace(base, weights=weights, grids=like.grids)
