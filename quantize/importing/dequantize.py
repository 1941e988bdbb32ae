"""A GPTQ or AWQ checkpoint back to 16 bits, from the published formats. Needs torch."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import torch

from quantserve.core.checkpoints import NAMED_IN_CONFIG
from quantserve.core.files import remove_tree, write_json
from quantserve.quantize.methods.assemble import half_of, read_config
from quantserve.quantize.methods.checkpoint import CheckpointWriter, copy_companions, read_tensors
from quantserve.quantize.models.checks import check_checkpoint

_INT32_BITS = 32
_PARTS = ("qweight", "qzeros", "scales", "g_idx")
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


def dequantize_gptq(parts: dict[str, torch.Tensor], bits: int, *, version_2: bool) -> torch.Tensor:
    """Return a weight (output, input) from AutoGPTQ's tensors; version 1 stores zero points less one."""
    columns = parts["qweight"].T.contiguous()
    codes = unpack(columns, bits).flatten(1).T
    zeros = unpack(parts["qzeros"], bits).flatten(1)
    if not version_2:
        zeros = (zeros + 1) & ((1 << bits) - 1)
    scales = parts["scales"].float()
    group = parts["g_idx"].long() if "g_idx" in parts else _in_order(codes, scales)
    return ((codes - zeros[group]) * scales[group]).T.contiguous()


def dequantize_awq(parts: dict[str, torch.Tensor], bits: int) -> torch.Tensor:
    """Return a weight (output, input) from AutoAWQ's tensors."""
    codes = unpack(parts["qweight"], bits)[..., list(_AWQ_PLACES)].flatten(1)
    zeros = unpack(parts["qzeros"], bits)[..., list(_AWQ_PLACES)].flatten(1)
    scales = parts["scales"].float()
    group = _in_order(codes, scales)
    return ((codes - zeros[group]) * scales[group]).T.contiguous()


def _in_order(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    return torch.arange(codes.shape[0]) // (codes.shape[0] // scales.shape[0])


def dequantize_checkpoint(source: Path, output: Path) -> None:
    """Write a plain 16-bit checkpoint of the weights a GPTQ or AWQ checkpoint stands for; appears whole."""
    part = output.with_name(f"{output.name}.part")
    remove_tree(part)
    part.mkdir(parents=True)
    config = read_config(source)
    settings = check_checkpoint(source).quantization or {}
    for name in ("quantization_config", NAMED_IN_CONFIG):
        config.pop(name, None)
    bits = int(settings.get("bits") or settings["w_bit"])
    version_2 = settings.get("checkpoint_format") == "gptq_v2"
    writer = CheckpointWriter(part, half_of(config))
    waiting: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
    for name, tensor in read_tensors(source):
        stem, _, suffix = name.rpartition(".")
        if suffix in _PARTS:
            waiting[stem][suffix] = tensor
        else:
            writer.add_weight(name, tensor)
    for stem, parts in waiting.items():
        if settings["quant_method"] == "awq":
            weight = dequantize_awq(parts, bits)
        else:
            weight = dequantize_gptq(parts, bits, version_2=version_2)
        writer.add_weight(f"{stem}.weight", weight)
    writer.finish()
    dtype = "bfloat16" if writer.widened else str(half_of(config)).removeprefix("torch.")
    write_json(part / "config.json", {**config, "dtype": dtype}, allow_nan=True)
    copy_companions(source, part)
    part.rename(output)
