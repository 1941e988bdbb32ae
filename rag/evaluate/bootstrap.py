"""Confidence intervals by the percentile bootstrap (Efron, 1979), over questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
_LOW, _HIGH = 2.5, 97.5


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` questions and its 95 % interval."""

    mean: float
    low: float
    high: float
    n: int


def estimate(values: Sequence[float], seed: int = 0) -> Estimate | None:
    """Return the mean with its interval; None without values. The same values give the same interval."""
    if not values:
        return None
    data = np.asarray(values, np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(data), (RESAMPLES, len(data)))
    low, high = np.percentile(data[drawn].mean(axis=1), (_LOW, _HIGH))
    return Estimate(float(data.mean()), float(low), float(high), len(data))


def difference(ours: Sequence[float], theirs: Sequence[float], seed: int = 0) -> Estimate | None:
    """Return the mean of the paired differences, question by question, with its interval."""
    return estimate([a - b for a, b in zip(ours, theirs, strict=True)], seed)
