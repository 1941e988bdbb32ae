"""Passages written by hand: each position lists its two best tokens with their probabilities."""

from __future__ import annotations

import numpy as np

from quantserve.quantize.gate.measure.figures import ScoredPassage

Position = tuple[float, dict[int, float]]
"""Probability of the actual token, and the best tokens with theirs, best first."""


def passage(*positions: Position, ids: list[int] | None = None) -> ScoredPassage:
    return ScoredPassage(
        np.array(ids or range(len(positions) + 1)),
        np.log([actual for actual, _ in positions]),
        np.array([list(best) for _, best in positions]),
        np.log([list(best.values()) for _, best in positions]),
    )
