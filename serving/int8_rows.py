"""Give vLLM's INT8 kernel for AMX the two dimensions that it takes.

vLLM 0.32's `CPUInt8ScaledMMLinearKernel` has two products. oneDNN's takes an input of any dimensions; the
one it chooses on a processor with AMX takes (rows, width) and dies with "mat1 must be a 2D tensor" on the
(1, rows, width) that models of the transformers backend hand over.
"""

from __future__ import annotations

from typing import Any

from vllm.model_executor.kernels.linear.scaled_mm.cpu import CPUInt8ScaledMMLinearKernel as Kernel

_product = Kernel._apply_weights_sgl


def _by_rows(self: Any, layer: Any, x: Any, bias: Any = None) -> Any:
    if x.dim() == 2:
        return _product(self, layer, x, bias)
    rows = _product(self, layer, x.reshape(-1, x.shape[-1]), bias)
    return rows.reshape(*x.shape[:-1], rows.shape[-1])


def take_any_dimensions() -> None:
    """Let the kernel take inputs of any dimensions; before weights are loaded, which chooses the product."""
    Kernel._apply_weights_sgl = _by_rows
