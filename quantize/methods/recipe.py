"""How a layer's parts are quantized: widths, grids, rounding and scaling, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

KEPT = 16


@dataclass(frozen=True)
class Recipe:
    """One method's way through a layer.

    bits, group_size, symmetric: the grid of a part without a width of its own. group_size -1 is a whole row.
    widths: parts by full module name with a width of their own: 16 stays, 8 is INT8 by row.
    scaling: input channels are scaled first, by AWQ's search or by SmoothQuant's formula.
    smoothing: SmoothQuant's strength, None for the one that loses least.
    feedback: GPTQ's rounding; otherwise each weight to its nearest.
    exponent: of the search for scales, 0 takes the range as it is.
    activations: bits the engine rounds inputs to, 16 for none.
    wide: weights are beyond float16, so 16-bit scales are bfloat16.
    """

    bits: int
    group_size: int
    symmetric: bool
    widths: Mapping[str, int]
    scaling: Literal["none", "awq", "smooth"] = "none"
    smoothing: float | None = None
    feedback: bool = False
    damping: float = 0.05
    exponent: float = 2.0
    important_first: bool = True
    signed_scales: bool = True
    activations: int = 16
    wide: bool = False

    def width(self, name: str) -> int:
        """Return a part's width in bits."""
        return self.widths.get(name, self.bits)
