"""A quantized weight, and the tensors each layout stores for it; no value changes in packing. Needs torch."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from quantserve.quantize.methods.formats.layouts import Layout

# Eight 4-bit values in an int32: GPTQ packs them in order, AWQ interleaved.
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
_INT32_BITS = 32
_FP8_TOP = torch.finfo(torch.float8_e4m3fn).max


@dataclass(frozen=True)
class Quantized:
    """A quantized linear layer: weight = (codes - zeros) * scales, each group of columns its own scale.

    codes: (output, input), uint8. scales, zeros: (output, groups), floats.
    """

    codes: torch.Tensor
    scales: torch.Tensor
    zeros: torch.Tensor
    bits: int

    @property
    def group_size(self) -> int:
        """Columns that share a scale."""
        return self.codes.shape[1] // self.scales.shape[1]

    def dequantize(self) -> torch.Tensor:
        """Return the weights the codes stand for, (output, input), in the scales' type."""
        rows, groups = self.scales.shape
        codes = self.codes.to(self.scales.dtype).view(rows, groups, -1)
        return ((codes - self.zeros[:, :, None]) * self.scales[:, :, None]).view(rows, -1)


def tensors_of(weights: Quantized, layout: Layout, name: str) -> dict[str, torch.Tensor]:
    """Return the tensors that stand for one module's weight in its layout, by suffix."""
    match layout.format_of(name):
        case "gptq":
            return gptq(weights)
        case "awq":
            return awq(weights)
        case "packed":
            return packed_integers(weights, symmetric=layout.symmetric)
        case _:
            return int8(weights)


def pack_rows(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Pack values (rows, columns) along the rows: (rows * bits / 32, columns), lowest bits first."""
    per_word = _INT32_BITS // bits
    words = values.to(torch.int32).view(-1, per_word, values.shape[1])
    packed = torch.zeros(words.shape[0], words.shape[2], dtype=torch.int32)
    for place in range(per_word):
        packed |= words[:, place] << (place * bits)
    return packed


def pack_columns(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Pack values (rows, columns) along the columns: (rows, columns * bits / 32), lowest bits first."""
    return pack_rows(values.T.contiguous(), bits).T.contiguous()


def gptq(weights: Quantized) -> dict[str, torch.Tensor]:
    """Return AutoGPTQ's tensors: weights along the input, zero points less one, groups in order."""
    size = weights.group_size
    return {
        "qweight": pack_rows(weights.codes.T.contiguous(), weights.bits),
        "qzeros": pack_columns(weights.zeros.T - 1, weights.bits),
        "scales": _half(weights.scales.T).contiguous(),
        "g_idx": torch.arange(weights.codes.shape[1], dtype=torch.int32) // size,
    }


def awq(weights: Quantized) -> dict[str, torch.Tensor]:
    """Return AutoAWQ's tensors: weights and zero points along the output, interleaved within eight."""
    return {
        "qweight": pack_columns(_interleaved(weights.codes.T), weights.bits),
        "qzeros": pack_columns(_interleaved(weights.zeros.T), weights.bits),
        "scales": _half(weights.scales.T).contiguous(),
    }


def _half(scales: torch.Tensor) -> torch.Tensor:
    """Return scales in float16, or in bfloat16 where they are beyond it; they were chosen as one of them."""
    half = scales.to(torch.float16)
    return half if bool(torch.isfinite(half).all()) else scales.to(torch.bfloat16)


def _interleaved(values: torch.Tensor) -> torch.Tensor:
    return values.reshape(values.shape[0], -1, 8)[:, :, list(_AWQ_ORDER)].reshape(values.shape)


def packed_integers(weights: Quantized, *, symmetric: bool) -> dict[str, torch.Tensor]:
    """Return compressed-tensors' `pack-quantized` tensors: weights along the input, of any width."""
    # imported only here: it brings torch's compiler, two seconds that the other layouts need not wait for
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

    middle = 1 << (weights.bits - 1)
    tensors = {
        "weight_packed": pack_to_int32((weights.codes.int() - middle).to(torch.int8), weights.bits),
        "weight_scale": _half(weights.scales).contiguous(),
        "weight_shape": torch.tensor(weights.codes.shape),
    }
    if not symmetric:
        zeros = (weights.zeros - middle).to(torch.int8).contiguous()
        tensors["weight_zero_point"] = pack_to_int32(zeros, weights.bits, packed_dim=0).contiguous()
    return tensors


def int8(weights: Quantized) -> dict[str, torch.Tensor]:
    """Return compressed-tensors' `int-quantized` tensors: one byte a weight, one scale a row."""
    return {
        "weight": (weights.codes.int() - 128).to(torch.int8),
        "weight_scale": weights.scales.to(torch.float32).contiguous(),
    }


def fp8(weights: torch.Tensor) -> dict[str, torch.Tensor]:
    """Round weights (output, input) to FP8 (E4M3), one scale a row: `float-quantized` tensors."""
    reach = weights.float().abs().amax(1, keepdim=True)
    scale = torch.where(reach == 0, torch.ones_like(reach), reach) / _FP8_TOP
    values = (weights.float() / scale).clamp(-_FP8_TOP, _FP8_TOP)
    return {"weight": values.to(torch.float8_e4m3fn), "weight_scale": scale}


def llm_int8(weights: torch.Tensor) -> dict[str, torch.Tensor]:
    """Round weights (output, input) to bitsandbytes' 8 bits: `SCB` is each row's largest |weight|."""
    reach = weights.float().abs().amax(1)
    scale = torch.where(reach == 0, torch.ones_like(reach), reach) / 127
    return {
        "weight": (weights.float() / scale[:, None]).round().to(torch.int8),
        "SCB": reach,
        "weight_format": torch.tensor(0, dtype=torch.uint8),
    }
