"""A checkpoint's weights as float32, whatever layout they are stored in, one at a time. Needs torch.

Written from the published formats alone and without the quantizer's own packing, which it is there to check.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from quantserve.quantize.importing.dequantize import dequantize_awq, dequantize_gptq, unpack
from quantserve.quantize.methods.checkpoint import tensor_files
from quantserve.quantize.models.checks import read_json

_PACKED = ("qweight", "weight_packed")
_PARTS = (
    *_PACKED,
    *(
        "qzeros",
        "scales",
        "g_idx",
        "weight_scale",
        "weight_zero_point",
        "weight_shape",
        "SCB",
        "weight_format",
    ),
)


class StoredWeights:
    """The tensors of a checkpoint's directory by the names of an unquantized one."""

    def __init__(self, directory: Path) -> None:
        """Open the files; nothing is read yet."""
        config = read_json(directory / "config.json")
        self._settings: dict[str, Any] = config.get("quantization_config") or {}
        self._files = tensor_files(directory)
        self.quantized = frozenset(
            [name.rpartition(".")[0] for name in self._files if name.rpartition(".")[2] in _PACKED]
            + [
                name.removesuffix("_scale").removesuffix(".weight")
                for name in self._files
                if name.endswith(".weight_scale")
            ]
            + [name.removesuffix(".SCB") for name in self._files if name.endswith(".SCB")]
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

    def _parts(self, module: str) -> dict[str, torch.Tensor]:
        return {
            suffix: self._read(f"{module}.{suffix}")
            for suffix in ("weight", *_PARTS)
            if f"{module}.{suffix}" in self._files
        }

    def _dequantized(self, module: str) -> torch.Tensor:
        parts = self._parts(module)
        if "qweight" in parts:
            bits = int(self._settings.get("bits") or self._settings["w_bit"])
            if self._settings["quant_method"] == "awq":
                return dequantize_awq(parts, bits)
            return dequantize_gptq(
                parts, bits, version_2=self._settings.get("checkpoint_format") == "gptq_v2"
            )
        if "weight_packed" in parts:
            return _packed(parts, self._bits(module))
        if "SCB" in parts:
            return parts["weight"].float() * parts["SCB"].float()[:, None] / 127
        return parts["weight"].float() * parts["weight_scale"].float()

    def _bits(self, module: str) -> int:
        """Return the width of a packed module: that of the group whose format is packed."""
        groups = self._settings["config_groups"].values()
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
