"""Quantiles that refuse to be invented, and the intervals of quantiles, means, ratios and differences.

A quantile is known when the sample bounds it on both sides: when its 95 % order-statistic interval (David &
Nagaraja, Order Statistics, 2003, 7.1) lies within the sample. That takes 6 values for a median, 36 for p90,
72 for p95 and 368 for p99, whatever their distribution; with fewer, the quantile shown would be a guess.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
Interval = tuple[float, float] | None
RESAMPLES = 1000
MEAN_RESAMPLES = 2000
ENOUGH_PAIRS = 3
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
LEVEL = 0.95
"""Of every interval here."""
_TAIL = (1 - LEVEL) / 2
_LEAST_REPEATS = 3


@functools.cache
def needed(q: float) -> int:
    """The fewest independent values whose interval of the q-quantile lies within them."""
    furthest = max(q, 1 - q)
    return math.ceil(math.log(_TAIL) / math.log(furthest))


def ranks(count: int, q: float) -> tuple[int, int] | None:
    """The ranks (from 1) of the values that bound the q-quantile of `count` independent ones, at 95 %.

    None where the sample does not reach far enough to one side.
    """
    if count < needed(q):
        return None
    return int(stats.binom.ppf(_TAIL, count, q)), int(stats.binom.ppf(1 - _TAIL, count, q)) + 1


def effective_count(clusters: Sequence[Array], q: float) -> int:
    """How many independent values would say as much about the q-quantile as values that come in clusters.

    The gaps of one answer resemble each other: a thousand of them from twelve answers are no thousand
    observations. The count is divided by the design effect (Kish, Survey Sampling, 1965, 5.4) of the share of
    values up to the quantile (Woodruff, JASA 47, 1952). And a tail quantile needs one cluster in the tail on
    average, or nothing was seen of how clusters differ there.
    """
    clusters = [cluster for cluster in clusters if len(cluster)]
    sizes = np.array([len(cluster) for cluster in clusters], dtype=np.float64)
    total = int(sizes.sum())
    if len(clusters) < max(needed(0.5), math.ceil(round(1 / (1 - q), 6))):
        return 0
    cut = np.quantile(np.concatenate(clusters), q)
    below = np.array([np.count_nonzero(cluster <= cut) for cluster in clusters], dtype=np.float64)
    share = below.sum() / total
    simple = share * (1 - share) / total
    if simple <= 0:
        return total
    scale = len(clusters) / (len(clusters) - 1) / total**2
    effect = scale * float(np.square(below - share * sizes).sum()) / simple
    return int(total / max(1.0, effect))


def quantile(
    values: Sequence[float] | Array, q: float, clusters: Sequence[Array] | None = None
) -> float | None:
    """The q-quantile (numpy's and R's type 7), or None where the sample does not carry it.

    `clusters` are the same values by what they belong to, where they are not independent.
    """
    count = len(values) if clusters is None else effective_count(clusters, q)
    return None if count < needed(q) else float(np.quantile(np.asarray(values, dtype=np.float64), q))


def quantile_interval(
    values: Sequence[float] | Array, q: float, clusters: Sequence[Array] | None = None
) -> tuple[float, float] | None:
    """The 95 % order-statistic interval of the q-quantile; None where the sample does not carry it."""
    count = len(values) if clusters is None else effective_count(clusters, q)
    found = ranks(count, q)
    if found is None:
        return None
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    low, high = (math.ceil(rank * len(ordered) / count) for rank in found)
    return float(ordered[max(low, 1) - 1]), float(ordered[min(high, len(ordered)) - 1])


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


def interval(estimates: Sequence[float] | Array, level: float = LEVEL) -> tuple[float, float] | None:
    """Percentile interval of bootstrap estimates."""
    if len(estimates) < 2:
        return None
    tail = (1 - level) / 2
    low, high = np.quantile(np.asarray(estimates, dtype=np.float64), [tail, 1 - tail])
    return float(low), float(high)


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the mean of one value per repeat, by Student's t; None with fewer than three repeats.

    A bootstrap of three to five values, which is what there is, would be far too narrow.
    """
    if len(values) < _LEAST_REPEATS:
        return None
    array = np.asarray(values, dtype=np.float64)
    middle, error = float(array.mean()), float(array.std(ddof=1)) / math.sqrt(len(array))
    reach = float(stats.t.ppf(1 - _TAIL, len(array) - 1)) * error
    return middle - reach, middle + reach


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` values and its 95 % interval."""

    mean: float
    low: float
    high: float
    n: int


def estimate(values: Sequence[float], seed: int = 0) -> Estimate | None:
    """Return the mean with its percentile bootstrap interval (Efron, 1979); None without values.

    The same values give the same interval.
    """
    if not values:
        return None
    data = np.asarray(values, np.float64)
    mean = float(data.mean())
    if len(data) == 1:
        return Estimate(mean, mean, mean, 1)
    low, high = bootstrap_interval((data,), np.mean, MEAN_RESAMPLES, seed)
    return Estimate(mean, low, high, len(data))


def difference(ours: Sequence[float], theirs: Sequence[float], seed: int = 0) -> Estimate | None:
    """Return the mean of the paired differences, one by one, with its interval."""
    return estimate([a - b for a, b in zip(ours, theirs, strict=True)], seed)


def paired_ratio(pairs: Sequence[tuple[float, float]], seed: int = 0) -> tuple[float, Interval]:
    """Ratio of the medians of (a, b) pairs, and its 95 % bootstrap interval over pairs.

    Pairs are drawn whole, so what disturbed both sides alike cancels. Fewer than three give no interval, and
    that of three to five is from the lowest to the highest pair, which covers 75 % to 94 %, not 95 %.
    """
    ours, theirs = np.asarray(pairs, dtype=np.float64).T
    ratio = float(np.median(ours) / np.median(theirs))
    if len(pairs) < ENOUGH_PAIRS:
        return ratio, None
    return ratio, bootstrap_interval((ours, theirs), _ratio_of_medians, RESAMPLES, seed)


def typical(values: Sequence[float]) -> tuple[float, Interval]:
    """Median of one value per round, and its 95 % order-statistic interval, which takes six rounds."""
    return float(np.median(np.asarray(values, dtype=np.float64))), quantile_interval(values, 0.5)


def _ratio_of_medians(ours: Array, theirs: Array, axis: int = -1) -> Array:
    ratio: Array = np.median(ours, axis=axis) / np.median(theirs, axis=axis)
    return ratio


def bootstrap_interval(
    samples: Sequence[NDArray[Any]], statistic: Callable[..., Any], resamples: int, seed: int
) -> tuple[float, float]:
    """Return the 95 % percentile interval of a statistic of samples whose values are drawn together."""
    found = stats.bootstrap(
        tuple(samples),
        statistic,
        n_resamples=resamples,
        paired=len(samples) > 1,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)
