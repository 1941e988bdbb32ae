"""Compare two subjects that were measured in turns: ratios and differences over pairs, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quantserve.benchmarks.metrics.statistics import RESAMPLES, interval, quantile_interval

ENOUGH_PAIRS = 3
Interval = tuple[float, float] | None


def paired_ratio(pairs: Sequence[tuple[float, float]], seed: int = 0) -> tuple[float, Interval]:
    """Ratio of the medians of (a, b) pairs, and its 95 % bootstrap interval over pairs.

    Pairs are drawn whole, so what disturbed both sides alike cancels. Fewer than three give no interval, and
    that of three to five is from the lowest to the highest pair, which covers 75 % to 94 %, not 95 %.
    """
    array = np.asarray(pairs, dtype=np.float64)
    middle = np.median(array, axis=0)
    ratio = float(middle[0] / middle[1])
    if len(array) < ENOUGH_PAIRS:
        return ratio, None
    drawn = np.median(array[_draws(len(array), seed)], axis=1)
    return ratio, interval(drawn[:, 0] / drawn[:, 1])


def typical(values: Sequence[float]) -> tuple[float, Interval]:
    """Median of one value per round, and its 95 % order-statistic interval, which takes six rounds."""
    return float(np.median(np.asarray(values, dtype=np.float64))), quantile_interval(values, 0.5)


def _draws(count: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))
