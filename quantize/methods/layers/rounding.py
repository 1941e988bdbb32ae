"""Rounding a weight matrix to codes: the grid, to the nearest, or with error feedback. Needs torch.

A `Grid` maps integers 0…2^bits-1 to weights: (code - zero) * scale. Scales are chosen as they will be
stored (float16), so the codes are the best ones for the scales that are served.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from quantserve.core.errors import InputError
from quantserve.quantize.methods.formats.packing import Quantized

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


def choose_grid(weights: torch.Tensor, options: GridOptions, importance: torch.Tensor | None = None) -> Grid:
    """Return each row's grid for weights (rows, columns).

    `importance` (columns) weighs the loss of each column: the mean square of the inputs it multiplies.
    """
    at_once = rows_at_once(weights.shape[1], weights.device.type)
    found = [_search_grid(rows, options, importance) for rows in torch.split(weights, at_once)]
    return Grid(torch.cat([scale for scale, _ in found]), torch.cat([zero for _, zero in found]), options.top)


def rows_at_once(columns: int, device_type: str) -> int:
    """Return how many rows' candidates are tried together."""
    if device_type == "cpu":
        return _ROWS
    return max(_ROWS, _GPU_VALUES // (columns * 2 * len(_SHRINK)))


def _search_grid(
    x: torch.Tensor, options: GridOptions, importance: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    scale, zero = _grid_candidates(x, options)
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


def _grid_candidates(x: torch.Tensor, options: GridOptions) -> tuple[torch.Tensor, torch.Tensor]:
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


def round_to_nearest(
    weights: torch.Tensor,
    group_size: int,
    options: GridOptions,
    importance: torch.Tensor | None = None,
) -> Quantized:
    """Round each weight (output, input) alone."""
    rows, columns = weights.shape
    size = columns if group_size == -1 else group_size
    groups = columns // size
    # One grid row for each group: with importance the groups differ, so they are searched one by one.
    if importance is None:
        grid = choose_grid(weights.reshape(rows * groups, size), options)
        codes = grid.codes(weights.reshape(rows * groups, size)).reshape(rows, columns)
        scale, zero = grid.scale.view(rows, groups), grid.zero.view(rows, groups)
    else:
        parts = torch.split(weights, size, 1)
        grids = [
            choose_grid(part, options, seen)
            for part, seen in zip(parts, torch.split(importance, size), strict=True)
        ]
        codes = torch.cat([grid.codes(part) for grid, part in zip(grids, parts, strict=True)], 1)
        scale, zero = torch.cat([g.scale for g in grids], 1), torch.cat([g.zero for g in grids], 1)
    return Quantized(codes.to(torch.uint8), scale, zero, options.bits)


def round_with_feedback(
    weights: torch.Tensor,
    hessian: torch.Tensor,
    group_size: int,
    options: GridOptions,
    *,
    damping: float,
    important_first: bool,
) -> Quantized:
    """Round column by column; the columns not yet rounded absorb the error (GPTQ, Frantar et al. 2022).

    weights: (output, input). hessian: (input, input), the inputs' mean outer product. damping: share of
    its mean diagonal added to the diagonal. important_first: visit groups, and columns within a group,
    by the size of their input, without changing what is stored where.

    Each group's grid is chosen when its turn comes, from weights that carry all feedback so far.
    """
    columns = weights.shape[1]
    size = columns if group_size == -1 else group_size
    work, hessian = weights.clone(), hessian.clone()
    dead = hessian.diagonal() == 0
    hessian.diagonal()[dead] = 1
    work[:, dead] = 0
    order = _visiting_order(hessian.diagonal(), size) if important_first else torch.arange(columns)
    order = order.to(work.device)
    work, hessian = work[:, order], hessian[order][:, order]
    factor = _inverse_factor(hessian, damping)
    importance = hessian.diagonal()
    codes = torch.empty_like(work)
    grids: list[Grid] = []
    block = min(size, 128)
    grid = None
    for start in range(0, columns, block):
        end = min(start + block, columns)
        if start % size == 0:
            reach = min(start + size, columns)
            grid = choose_grid(work[:, start:reach], options, importance[start:reach])
            grids.append(grid)
        if grid is None:
            raise ValueError("the first block starts a group")
        with _one_thread():
            errors = _round_block(work[:, start:end], factor[start:end, start:end], grid, codes[:, start:end])
        work[:, end:] -= errors @ factor[start:end, end:]
    back = torch.argsort(order)
    place = torch.argsort(order[::size] // size)
    scales = torch.cat([g.scale for g in grids], 1)[:, place]
    zeros = torch.cat([g.zero for g in grids], 1)[:, place]
    return Quantized(codes[:, back].to(torch.uint8), scales, zeros, options.bits)


def _visiting_order(diagonal: torch.Tensor, size: int) -> torch.Tensor:
    """Return column indices: groups by their largest input, columns within a group by theirs."""
    groups = diagonal.view(-1, size)
    within = torch.argsort(groups, dim=1, descending=True)
    first = torch.argsort(groups.amax(1), descending=True)
    return (within + torch.arange(groups.shape[0], device=diagonal.device)[:, None] * size)[first].flatten()


def _inverse_factor(hessian: torch.Tensor, damping: float) -> torch.Tensor:
    """Return the upper Cholesky factor of the damped matrix's inverse; damp more where that fails."""
    mean = hessian.diagonal().mean()
    if not bool(torch.isfinite(mean)):
        raise InputError(
            "The calibration text makes this model's activations overflow",
            mend="Use --method rtn, which needs no calibration",
        )
    identity = torch.eye(hessian.shape[0], device=hessian.device, dtype=hessian.dtype)
    share = damping
    upper, failed = _try_factor(hessian + identity * (share * mean))
    while failed:
        share *= 2
        upper, failed = _try_factor(hessian + identity * (share * mean))
    return upper


def _try_factor(hessian: torch.Tensor) -> tuple[torch.Tensor, bool]:
    lower, failed = torch.linalg.cholesky_ex(hessian)
    if bool(failed):
        return lower, True
    upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
    return upper, bool(failed)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Column steps are too short to share: on a busy machine each would wait for a sleeping thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _round_block(work: torch.Tensor, factor: torch.Tensor, grid: Grid, codes: torch.Tensor) -> torch.Tensor:
    """Round a block of columns in place and return the errors that later blocks absorb.

    The transposed copies make a column contiguous: a column step touches each row once.
    """
    columns = work.T.contiguous()
    errors = torch.empty_like(columns)
    scale, zero = grid.scale.flatten(), grid.zero.flatten()
    inverse_scale = scale.reciprocal()
    diagonal = factor.diagonal().tolist()
    rounded = torch.empty_like(columns)
    for i in range(columns.shape[0]):
        column = columns[i]
        code = torch.mul(column, inverse_scale, out=rounded[i]).round_().add_(zero).clamp_(0, grid.top)
        error = torch.sub(code, zero).mul_(scale).sub_(column).mul_(-1 / diagonal[i])
        errors[i] = error
        if i + 1 < columns.shape[0]:
            columns[i + 1 :].addr_(factor[i, i + 1 :], error, alpha=-1)
    codes.copy_(rounded.T)
    return errors.T
