"""The change of a metric from A to B with a 95 % bootstrap interval, and limits on it. Pure.

Limits are texts: `ttft_p95>+10%` (worse by more than), `output_tps<-5%`, `e2e_p99>2s`, `failure_share>1%`.
A sign before the number means a change from A to B; no sign means B's own value.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from quantserve.benchmarks.errors import BadOption
from quantserve.benchmarks.measure.metrics import PER_REQUEST, Slo, by_cell, chunk_tokens, itl_s, rates
from quantserve.benchmarks.records import Failure, Record
from quantserve.core.stats import QUANTILES, RESAMPLES, Array, interval, quantile, quantiles, resample

LATENCIES = ("ttft", "tpot", "itl", "e2e", "response")
RATES = ("output_tps", "total_tps", "requests_ps", "goodput_ps")
METRICS = (
    *RATES,
    "failure_share",
    *(f"{name}_{q}" for name in LATENCIES for q in ("mean", "p50", "p90", "p95", "p99")),
)
_FORM = re.compile(r"^\s*([a-z0-9_]+)\s*([<>])\s*([+-]?)([0-9]*\.?[0-9]+)\s*(%|ms|s)?\s*$")


@dataclasses.dataclass(frozen=True)
class MetricLimit:
    """One demand on run B; it is broken when the metric is `above` (or below) `bound`."""

    metric: str
    above: bool
    bound: float
    """A share (0.1 for 10 %) when `relative`, else the metric's own unit (seconds, shares, per second)."""
    relative: bool
    text: str

    def broken_by(self, a: float | None, b: float | None) -> bool | None:
        """Whether the limit is broken; None when that is unknown."""
        if b is None or (self.relative and not a):
            return None
        value = b / a - 1 if self.relative and a else b
        return value > self.bound if self.above else value < self.bound


def parse_limit(text: str) -> MetricLimit:
    """Read one limit.

    Raises:
        BadOption: it is not of that form, or the metric is unknown.
    """
    match = _FORM.match(text)
    if match is None:
        raise BadOption(f"{text!r} is no limit", mend="Write ttft_p95>+10% or e2e_p99>2s")
    metric, sign, plus, digits, unit = match.groups()
    if metric not in METRICS:
        raise BadOption(f"{text!r}: no metric {metric!r}", mend=f"Use one of {', '.join(METRICS)}")
    value = float(f"{plus}{digits}")
    relative = bool(plus)
    if relative and unit != "%":
        raise BadOption(f"{text!r}: a change is given in %", mend=f"Write {metric}{sign}{plus}10%")
    scale = {"%": 0.01, "ms": 0.001, "s": 1.0, None: 1.0}[unit]
    return MetricLimit(metric, sign == ">", value * scale, relative, text.strip())


BATCHES = 10
"""Parts a single repeat is cut into, to see how much its rate varies by itself."""
ENOUGH_REPEATS = 3


@dataclasses.dataclass(frozen=True)
class Change:
    """One metric in both runs."""

    metric: str
    a: float | None
    b: float | None
    share: float | None
    """b / a - 1."""
    low: float | None
    high: float | None
    """95 % interval of the share; None when there is too little data."""

    @property
    def significant(self) -> bool | None:
        """Whether the interval excludes no change; None when there is none."""
        if self.low is None or self.high is None:
            return None
        return self.low > 0 or self.high < 0


def change(metric: str, a: Sequence[Record], b: Sequence[Record], slo: Slo) -> Change:
    """Compare one metric of the records of one point in both runs."""
    if metric == "failure_share":
        return _plain(metric, _failure_share(a), _failure_share(b))
    if metric in RATES:
        return _rate(metric, a, b, slo)
    name, _, q = metric.rpartition("_")
    groups_a, groups_b = _values(name, a), _values(name, b)
    one, other = _statistic(groups_a, q, _clusters(name, a)), _statistic(groups_b, q, _clusters(name, b))
    if one is None or other is None:
        return _plain(metric, one, other)
    return _with_interval(metric, one, other, _estimates(groups_a, q, 1), _estimates(groups_b, q, 2))


def _failure_share(records: Sequence[Record]) -> float | None:
    asked = [r for r in records if r.phase == "measure" and r.failure != Failure.CUT_OFF]
    return sum(not r.ok for r in asked) / len(asked) if asked else None


def _values(name: str, records: Sequence[Record]) -> list[Array]:
    groups = []
    for cell in by_cell(records).values():
        if name == "itl":
            values = [value for r in cell for value in itl_s(r)]
        else:
            values = [v for r in cell if (v := PER_REQUEST[name](r)) is not None]
        groups.append(np.asarray(values, dtype=np.float64))
    return [group for group in groups if len(group)]


def _clusters(name: str, records: Sequence[Record]) -> list[Array] | None:
    """The values by request, where one request has many."""
    if name != "itl":
        return None
    return [np.asarray(itl_s(r), dtype=np.float64) for cell in by_cell(records).values() for r in cell]


def _statistic(groups: Sequence[Array], q: str, clusters: list[Array] | None) -> float | None:
    if not groups:
        return None
    values = np.concatenate(groups)
    return float(values.mean()) if q == "mean" else quantile(values, QUANTILES[q], clusters)


def _estimates(groups: Sequence[Array], q: str, seed: int) -> Array:
    if sum(len(group) for group in groups) < 5:
        return np.array([])
    if q == "mean":
        return np.array([sample.mean() for sample in resample(groups, seed)])
    return np.array([quantiles(sample, [QUANTILES[q]])[0] for sample in resample(groups, seed)])


def _rate(metric: str, a: Sequence[Record], b: Sequence[Record], slo: Slo) -> Change:
    cells_a, cells_b = list(by_cell(a).values()), list(by_cell(b).values())
    one, other = _mean_rate(metric, cells_a, slo), _mean_rate(metric, cells_b, slo)
    if one is None or other is None:
        return _plain(metric, one, other)
    if min(len(cells_a), len(cells_b)) >= ENOUGH_REPEATS:
        samples_a = [v for cell in cells_a if (v := rates(cell, slo)[metric]) is not None]
        samples_b = [v for cell in cells_b if (v := rates(cell, slo)[metric]) is not None]
    elif metric == "goodput_ps":
        return _plain(metric, one, other)
    else:
        samples_a = [v for cell in cells_a for v in batch_means(cell, metric)]
        samples_b = [v for cell in cells_b for v in batch_means(cell, metric)]
    return _with_interval(metric, one, other, _means(samples_a, 1), _means(samples_b, 2))


def _mean_rate(metric: str, cells: Sequence[Sequence[Record]], slo: Slo) -> float | None:
    known = [value for cell in cells if (value := rates(cell, slo)[metric]) is not None]
    return sum(known) / len(known) if known else None


def batch_means(records: Sequence[Record], metric: str) -> list[float]:
    """Rates in ten equal parts of the time in which requests were still being sent.

    The method of batch means (Law & Kelton): parts much longer than a request are nearly independent.
    """
    good = [r for r in records if r.ok and r.done_s is not None]
    if len(good) < BATCHES:
        return []
    begin, end = min(r.done_s or 0.0 for r in good), max(r.sent_s for r in good)
    if end <= begin:
        return []
    edges = np.linspace(begin, end, BATCHES + 1)
    if metric == "requests_ps":
        stamps, weights = [r.done_s for r in good], [1.0] * len(good)
    else:
        stamps = [stamp for r in good for stamp in r.token_s]
        weights = [count for r in good for count in chunk_tokens(r)]
        if metric == "total_tps":
            stamps += [r.token_s[0] for r in good if r.token_s]
            weights += [float(r.prompt_tokens or 0) for r in good if r.token_s]
    counts, _ = np.histogram(np.asarray(stamps, dtype=np.float64), bins=edges, weights=np.asarray(weights))
    return [float(count / (edges[1] - edges[0])) for count in counts]


def _means(samples: Sequence[float], seed: int) -> Array:
    if len(samples) < ENOUGH_REPEATS:
        return np.array([])
    chance = np.random.default_rng(seed)
    array = np.asarray(samples, dtype=np.float64)
    return np.asarray(array[chance.integers(0, len(array), (RESAMPLES, len(array)))].mean(axis=1))


def _plain(metric: str, a: float | None, b: float | None) -> Change:
    return Change(metric, a, b, b / a - 1 if a and b is not None else None, None, None)


def _with_interval(metric: str, a: float, b: float, ones: Array, others: Array) -> Change:
    plain = _plain(metric, a, b)
    if not len(ones) or not len(others) or not np.all(ones > 0):
        return plain
    found = interval(others / ones - 1)
    return plain if found is None else dataclasses.replace(plain, low=found[0], high=found[1])
