"""Quantiles that refuse to be invented, and bootstrap intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
RESAMPLES = 1000
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def quantile(values: Sequence[float] | Array, q: float) -> float | None:
    """The q-quantile (linear interpolation, numpy's and R's type 7), or None where it is a guess.

    A tail quantile needs one value beyond it on average: p99 of 30 values is only their maximum.
    """
    count = len(values)
    if count == 0 or (q > 0.5 and count * (1 - q) < 1 - 1e-9):
        return None
    return float(np.quantile(np.asarray(values, dtype=np.float64), q))


def quantiles(values: Array, qs: Sequence[float]) -> Array:
    """The same quantiles without asking whether they are supported, and fast for small arrays.

    numpy's own function spends ten times as long on checking its arguments, a thousand times in a bootstrap.
    """
    ordered = np.sort(values)
    places = (len(ordered) - 1) * np.asarray(qs, dtype=np.float64)
    low = places.astype(np.int64)
    high = np.minimum(low + 1, len(ordered) - 1)
    below = ordered[low]
    result: Array = below + (places - low) * (ordered[high] - below)
    return result


def resample(groups: Sequence[Array], seed: int, resamples: int = RESAMPLES) -> Iterator[Array]:
    """Bootstrap samples of grouped values.

    With several groups (repeats), groups are drawn first and values within them after (the cluster
    bootstrap, Davison & Hinkley 1997, 3.8), since values of one repeat resemble each other. With one
    group its values are drawn.
    """
    chance = np.random.default_rng(seed)
    usable = [group for group in groups if len(group)]
    for _ in range(resamples if usable else 0):
        if len(usable) == 1:
            chosen = usable
        else:
            chosen = [usable[number] for number in chance.integers(0, len(usable), len(usable))]
        yield np.concatenate([group[chance.integers(0, len(group), len(group))] for group in chosen])


def interval(estimates: Sequence[float] | Array, level: float = 0.95) -> tuple[float, float] | None:
    """Percentile interval of bootstrap estimates."""
    if len(estimates) < 2:
        return None
    tail = (1 - level) / 2
    low, high = np.quantile(np.asarray(estimates, dtype=np.float64), [tail, 1 - tail])
    return float(low), float(high)


def mean_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float] | None:
    """95 % interval of the mean of one value per repeat; None with fewer than three repeats."""
    if len(values) < 3:
        return None
    chance = np.random.default_rng(seed)
    array = np.asarray(values, dtype=np.float64)
    means = array[chance.integers(0, len(array), (RESAMPLES, len(array)))].mean(axis=1)
    return interval(means)
