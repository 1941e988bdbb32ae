"""Grids: which values a weight may take, chosen per row or group of a row. Needs torch.

A `Grid` maps integers 0…2^bits-1 to weights: (code - zero) * scale. Scales are chosen as they will be
stored (float16), so the codes are the best ones for the scales that are served.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

# Shares of the full range that are tried as the range.
_SHRINK = torch.linspace(1.0, 0.55, 19)
# Rows tried at once: candidates of that many rows fit a core's second-level cache. A GPU wants few and large
# steps, since starting one costs more than its arithmetic: as many rows as keep below this many values.
_ROWS = 256
_GPU_VALUES = 1 << 27
_SMALLEST_SCALE = 2.0**-24


@dataclass(frozen=True)
class GridOptions:
    """How a grid is chosen.

    symmetric: the zero point lies in the middle, 2^(bits-1).
    search: tries narrower ranges and keeps the one that loses least, by |error| ** exponent.
    signed_scales: a symmetric scale may be negative, so that the level without a positive twin (-8 of
        four bits) falls on the side of the largest weight, as in llama.cpp's Q4_0.
    scale_dtype: the type scales are stored in.
    """

    bits: int
    symmetric: bool
    search: bool = True
    exponent: float = 2.0
    signed_scales: bool = True
    scale_dtype: torch.dtype = torch.float16

    @property
    def top(self) -> int:
        """The largest code."""
        return (1 << self.bits) - 1


@dataclass(frozen=True)
class Grid:
    """Scale and zero point of each row, both (rows, 1)."""

    scale: torch.Tensor
    zero: torch.Tensor
    top: int

    def codes(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the codes nearest to weights (rows, columns), as floats."""
        return weights.div(self.scale).round_().add_(self.zero).clamp_(0, self.top)

    def values(self, codes: torch.Tensor) -> torch.Tensor:
        """Return the weights that codes stand for."""
        return (codes - self.zero) * self.scale


def choose(weights: torch.Tensor, options: GridOptions, importance: torch.Tensor | None = None) -> Grid:
    """Return each row's grid for weights (rows, columns).

    `importance` (columns) weighs the loss of each column: the mean square of the inputs it multiplies.
    """
    at_once = rows_at_once(weights.shape[1], weights.device.type)
    found = [_search(rows, options, importance) for rows in torch.split(weights, at_once)]
    return Grid(torch.cat([scale for scale, _ in found]), torch.cat([zero for _, zero in found]), options.top)


def rows_at_once(columns: int, device_type: str) -> int:
    """Return how many rows' candidates are tried together."""
    if device_type == "cpu":
        return _ROWS
    return max(_ROWS, _GPU_VALUES // (columns * 2 * len(_SHRINK)))


def _search(
    x: torch.Tensor, options: GridOptions, importance: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    scale, zero = _candidates(x, options)
    scale = _storable(scale, options.scale_dtype)
    if scale.shape[1] == 1:
        return scale, zero
    levels = (x[:, None, :] / scale[:, :, None]).round_()
    levels.add_(zero[:, :, None]).clamp_(0, options.top).sub_(zero[:, :, None])
    error = levels.mul_(scale[:, :, None]).sub_(x[:, None, :])
    loss = error.square_() if options.exponent == 2.0 else error.abs_().pow_(options.exponent)
    total = loss.sum(2) if importance is None else loss @ importance
    best = total.argmin(1, keepdim=True)
    return scale.gather(1, best), zero.gather(1, best)


def _storable(scale: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Round scales to the type they are stored in, away from zero where that would make one vanish."""
    sign = torch.where(scale < 0, -1.0, 1.0)
    return sign * scale.abs().clamp(min=_SMALLEST_SCALE).to(dtype).to(scale.dtype)


def _candidates(x: torch.Tensor, options: GridOptions) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scales and zero points to try, both (rows, candidates)."""
    top = options.top
    shrink = (_SHRINK if options.search else _SHRINK[:1]).to(x)
    if options.symmetric:
        reach = x.abs().amax(1, keepdim=True)
        reach = torch.where(reach == 0, torch.ones_like(reach), reach)
        middle = (top + 1) // 2
        scale = reach * shrink / middle
        if options.signed_scales and options.search:
            scale = torch.cat([scale, -scale], 1)
        elif options.signed_scales:
            extreme = x.gather(1, x.abs().argmax(1, keepdim=True))
            scale = torch.where(extreme > 0, -scale, scale)
        else:
            scale = reach * shrink / (middle - 1)
        return scale, torch.full_like(scale, middle)
    low, high = x.amin(1, keepdim=True).clamp(max=0), x.amax(1, keepdim=True).clamp(min=0)
    reach = high - low
    scale = torch.where(reach == 0, torch.ones_like(reach), reach) * shrink / top
    ideal = -low * shrink / scale
    below = ideal.floor().clamp(0, top)
    if not options.search:
        return scale, ideal.round().clamp(0, top)
    return scale.repeat(1, 2), torch.cat([below, (below + 1).clamp(max=top)], 1)
