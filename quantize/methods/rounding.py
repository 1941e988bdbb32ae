"""Rounding a weight matrix to codes: to the nearest, or with GPTQ's error feedback. Needs torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from quantserve.core.errors import InputError
from quantserve.quantize.methods.grid import Grid, GridOptions, choose


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
        grid = choose(weights.reshape(rows * groups, size), options)
        codes = grid.codes(weights.reshape(rows * groups, size)).reshape(rows, columns)
        scale, zero = grid.scale.view(rows, groups), grid.zero.view(rows, groups)
    else:
        parts = torch.split(weights, size, 1)
        grids = [
            choose(part, options, seen)
            for part, seen in zip(parts, torch.split(importance, size), strict=True)
        ]
        codes = torch.cat([grid.codes(part) for grid, part in zip(grids, parts, strict=True)], 1)
        scale, zero = torch.cat([g.scale for g in grids], 1), torch.cat([g.zero for g in grids], 1)
    return Quantized(codes.to(torch.uint8), scale, zero, options.bits)


def round_with_feedback(
    weights: torch.Tensor,
    moments: torch.Tensor,
    group_size: int,
    options: GridOptions,
    *,
    damping: float,
    important_first: bool,
) -> Quantized:
    """Round column by column; the columns not yet rounded absorb the error (GPTQ, Frantar et al. 2022).

    weights: (output, input). moments: (input, input), the inputs' mean outer product. damping: share of
    its mean diagonal added to the diagonal. important_first: visit groups, and columns within a group,
    by the size of their input, without changing what is stored where.

    Each group's grid is chosen when its turn comes, from weights that carry all feedback so far.
    """
    columns = weights.shape[1]
    size = columns if group_size == -1 else group_size
    work, moments = weights.clone(), moments.clone()
    dead = moments.diagonal() == 0
    moments.diagonal()[dead] = 1
    work[:, dead] = 0
    order = _visiting_order(moments.diagonal(), size) if important_first else torch.arange(columns)
    order = order.to(work.device)
    work, moments = work[:, order], moments[order][:, order]
    factor = _inverse_factor(moments, damping)
    importance = moments.diagonal()
    codes = torch.empty_like(work)
    grids: list[Grid] = []
    block = min(size, 128)
    grid = None
    for start in range(0, columns, block):
        end = min(start + block, columns)
        if start % size == 0:
            reach = min(start + size, columns)
            grid = choose(work[:, start:reach], options, importance[start:reach])
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


def _inverse_factor(moments: torch.Tensor, damping: float) -> torch.Tensor:
    """Return the upper Cholesky factor of the damped matrix's inverse; damp more where that fails."""
    mean = moments.diagonal().mean()
    if not bool(torch.isfinite(mean)):
        raise InputError(
            "The calibration text makes this model's activations overflow",
            mend="Use --method rtn, which needs no calibration",
        )
    identity = torch.eye(moments.shape[0], device=moments.device, dtype=moments.dtype)
    share = damping
    upper, failed = _try_factor(moments + identity * (share * mean))
    while failed:
        share *= 2
        upper, failed = _try_factor(moments + identity * (share * mean))
    return upper


def _try_factor(moments: torch.Tensor) -> tuple[torch.Tensor, bool]:
    lower, failed = torch.linalg.cholesky_ex(moments)
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
