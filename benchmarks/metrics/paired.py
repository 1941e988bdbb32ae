"""Compare two subjects that were measured in turns: ratios and differences over pairs, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.metrics.statistics import RESAMPLES, interval

ENOUGH_PAIRS = 3
Interval = tuple[float, float] | None


def paired_ratio(pairs: Sequence[tuple[float, float]], seed: int = 0) -> tuple[float, Interval]:
    """Ratio of the medians of (a, b) pairs, and its 95 % bootstrap interval over pairs.

    Pairs are drawn whole, so what disturbed both sides alike cancels. Fewer than three give no interval.
    """
    array = np.asarray(pairs, dtype=np.float64)
    middle = np.median(array, axis=0)
    ratio = float(middle[0] / middle[1])
    if len(array) < ENOUGH_PAIRS:
        return ratio, None
    drawn = np.median(array[_draws(len(array), seed)], axis=1)
    return ratio, interval(drawn[:, 0] / drawn[:, 1])


def typical(values: Sequence[float], seed: int = 0) -> tuple[float, Interval]:
    """Median of one value per round, and its 95 % bootstrap interval over rounds."""
    array = np.asarray(values, dtype=np.float64)
    if len(array) < ENOUGH_PAIRS:
        return float(np.median(array)), None
    return float(np.median(array)), interval(np.median(array[_draws(len(array), seed)], axis=1))


def _draws(count: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))
