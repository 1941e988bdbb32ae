"""From raw records to figures: the latencies of a request, then all of a point with its repeats. Pure.

TTFT  first token minus send. TPOT  mean time per token after the first chunk. ITL  the time of each
single token: the gap before a chunk divided by its tokens. PAUSE  the gaps themselves, as a reader sees
them. E2E  last byte minus send. RESPONSE  last byte minus the intended send: in an open loop it counts
the wait of a request that could not be sent in time (coordinated omission).
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from quantserve.benchmarks.errors import BadOption
from quantserve.benchmarks.records import Failure, Record
from quantserve.core.stats import (
    QUANTILES,
    Array,
    Interval,
    interval,
    mean_interval,
    needed,
    quantile,
    quantile_interval,
    quantiles,
    resample,
)

Value = Callable[[Record], float | None]


def ttft_s(record: Record) -> float | None:
    """Time to first token."""
    return record.token_s[0] - record.sent_s if record.ok and record.token_s else None


def e2e_s(record: Record) -> float | None:
    """Send to last byte."""
    return record.done_s - record.sent_s if record.ok and record.done_s is not None else None


def response_s(record: Record) -> float | None:
    """Intended send to last byte."""
    return record.done_s - record.intended_s if record.ok and record.done_s is not None else None


def send_delay_s(record: Record) -> float:
    """How late the client was."""
    return record.sent_s - record.intended_s


def chunk_tokens(record: Record) -> list[float]:
    """Tokens in each chunk: as the server said, else spread evenly over the chunks."""
    if record.token_n is not None:
        return [float(count) for count in record.token_n]
    total = record.completion_tokens
    if not total or not record.token_s:
        return []
    return [total / len(record.token_s)] * len(record.token_s)


def tpot_s(record: Record) -> float | None:
    """Time per output token after the first chunk; None with a single chunk.

    With one token per chunk this is (last - first) / (tokens - 1), as everywhere. With several, dividing
    by tokens - 1 would count the first chunk's other tokens as if their time had been measured.
    """
    if not record.ok or len(record.token_s) < 2:
        return None
    counts = chunk_tokens(record)
    later = sum(counts[1:])
    return (record.token_s[-1] - record.token_s[0]) / later if later > 0 else None


def itl_s(record: Record) -> list[float]:
    """The time of each token after the first chunk, one value per chunk with tokens."""
    if not record.ok:
        return []
    counts = chunk_tokens(record)
    gaps = pauses_s(record)
    return [gap / count for gap, count in zip(gaps, counts[1:], strict=False) if count > 0]


def pauses_s(record: Record) -> list[float]:
    """Gaps between chunks."""
    if not record.ok:
        return []
    return [b - a for a, b in zip(record.token_s, record.token_s[1:], strict=False)]


PER_REQUEST: dict[str, Value] = {"ttft": ttft_s, "tpot": tpot_s, "e2e": e2e_s, "response": response_s}


BOOTSTRAP_MAX_VALUES = 20_000
"""Above this the interval of a quantile is narrower than anything it is compared with."""


@dataclasses.dataclass(frozen=True)
class Slo:
    """What a user accepts; None: no demand. A request is good when it meets all demands."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None

    def met_by(self, record: Record) -> bool:
        """Whether one request is good; a failed one never is."""
        if not record.ok:
            return False
        limits = ((ttft_s, self.ttft_s), (tpot_s, self.tpot_s), (e2e_s, self.e2e_s))
        for value_of, limit in limits:
            if limit is not None:
                value = value_of(record)
                # A one-token answer has no TPOT to violate.
                if value is not None and value > limit:
                    return False
        return True

    @property
    def empty(self) -> bool:
        """Whether nothing is demanded."""
        return self.ttft_s is None and self.tpot_s is None and self.e2e_s is None


def parse_slo(text: str) -> Slo:
    """Read `ttft=0.5,tpot=0.05,e2e=10` (seconds; `ms` may follow a number).

    Raises:
        BadOption: it is not of that form.
    """
    values: dict[str, float] = {}
    for part in (piece.strip() for piece in text.split(",") if piece.strip()):
        name, _, value = part.partition("=")
        scale = 0.001 if value.endswith("ms") else 1.0
        try:
            if name not in {"ttft", "tpot", "e2e"}:
                raise ValueError(name)
            values[f"{name}_s"] = float(value.removesuffix("ms").removesuffix("s")) * scale
        except ValueError as error:
            raise BadOption(f"{part!r} is no limit", mend="Write ttft=500ms,tpot=50ms,e2e=10s") from error
    return Slo(**values)


def by_cell(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Group by cell, keeping order; warm-up and cut-off requests are left out."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.phase == "measure":
            groups[record.cell].append(record)
    return dict(groups)


def window_s(records: Sequence[Record]) -> float | None:
    """First send to last byte of the requests that ended by themselves."""
    ended = [r for r in records if r.failure != Failure.CUT_OFF and r.done_s is not None]
    if not ended:
        return None
    span = max(r.done_s for r in ended if r.done_s is not None) - min(r.sent_s for r in ended)
    return span if span > 0 else None


def rates(records: Sequence[Record], slo: Slo) -> dict[str, float | None]:
    """Throughput of one cell: tokens and requests that really arrived, over the whole window."""
    span = window_s(records)
    names = ("output_tps", "total_tps", "requests_ps", "goodput_ps")
    if span is None:
        return dict.fromkeys(names)
    good = [r for r in records if r.ok]
    output = sum(r.completion_tokens or 0 for r in good)
    prompt = sum(r.prompt_tokens or 0 for r in good)
    return {
        "output_tps": output / span,
        "total_tps": (output + prompt) / span,
        "requests_ps": len(good) / span,
        "goodput_ps": None if slo.empty else sum(slo.met_by(r) for r in good) / span,
    }


def distribution(
    groups: Sequence[Sequence[float]], *, clusters: Sequence[Sequence[float]] | None = None, seed: int = 0
) -> dict[str, Any]:
    """n, mean, min, max and quantiles of values grouped by repeat, with 95 % intervals.

    A quantile that the sample does not carry is None, and `too_few` names the count it takes. `clusters` are
    the same values by request, where one request has many. The interval of a quantile is that of its order
    statistics, widened by how repeats differ (cluster bootstrap); that of the mean is the bootstrap's.
    """
    arrays: list[Array] = [np.asarray(group, dtype=np.float64) for group in groups if len(group)]
    if not arrays:
        return {"n": 0, "mean": None, **dict.fromkeys(QUANTILES), "ci95": {}, "too_few": _too_few(QUANTILES)}
    values = np.concatenate(arrays)
    tied = None if clusters is None else [np.asarray(one, dtype=np.float64) for one in clusters]
    out: dict[str, Any] = {
        "n": len(values),
        "mean": float(values.mean()),
        "min": float(values.min()),
        "max": float(values.max()),
    }
    out |= {name: quantile(values, q, tied) for name, q in QUANTILES.items()}
    out["too_few"] = _too_few(name for name in QUANTILES if out[name] is None)
    shown = [name for name in ("p50", "p95", "p99") if out[name] is not None]
    out["ci95"] = {name: quantile_interval(values, QUANTILES[name], tied) for name in shown}
    if 5 <= len(values) <= BOOTSTRAP_MAX_VALUES:
        qs = [QUANTILES[name] for name in shown]
        estimates = np.array([(sample.mean(), *quantiles(sample, qs)) for sample in resample(arrays, seed)])
        out["ci95"]["mean"] = interval(estimates[:, 0])
        if len(arrays) > 1:
            for number, name in enumerate(shown, 1):
                out["ci95"][name] = _hull(out["ci95"][name], interval(estimates[:, number]))
    return out


def _too_few(names: Iterable[str]) -> dict[str, int]:
    return {name: needed(QUANTILES[name]) for name in names}


def _hull(one: Interval, other: Interval) -> Interval:
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), max(one[1], other[1])


def point(records: Sequence[Record], slo: Slo | None = None) -> dict[str, Any]:
    """All figures of one point. Times in seconds; unknown is None."""
    slo = slo or Slo()
    cells = by_cell(records)
    measured = [record for group in cells.values() for record in group]
    asked = [record for record in measured if record.failure != Failure.CUT_OFF]
    failures = Counter(str(r.failure) for r in asked if r.failure is not None)
    out: dict[str, Any] = {
        "repeats": len(cells),
        "requests": len(asked),
        "succeeded": sum(record.ok for record in asked),
        "failed": sum(failures.values()),
        "failures": dict(failures),
        "cut_off": len(measured) - len(asked),
        "failure_examples": _examples(asked),
    }
    per_cell = [rates(group, slo) for group in cells.values()]
    for name in ("output_tps", "total_tps", "requests_ps", "goodput_ps"):
        known = [value for cell in per_cell if (value := cell[name]) is not None]
        out[name] = float(np.mean(known)) if known else None
        out[f"{name}_ci95"] = mean_interval(known)
        out[f"{name}_by_repeat"] = known
    out["good_share"] = None if slo.empty or not asked else sum(map(slo.met_by, asked)) / len(asked)
    for name, value_of in PER_REQUEST.items():
        out[name] = distribution(
            [[v for r in group if (v := value_of(r)) is not None] for group in cells.values()]
        )
    for name, values_of in (("itl", itl_s), ("pause", pauses_s)):
        by_request = [[values_of(r) for r in group] for group in cells.values()]
        pooled = [[value for one in group for value in one] for group in by_request]
        out[name] = distribution(pooled, clusters=[one for group in by_request for one in group])
    out["send_delay"] = distribution([[send_delay_s(r) for r in group] for group in cells.values()])
    good = [record for record in asked if record.ok]
    for name in ("prompt_tokens", "completion_tokens", "cached_tokens"):
        counts = [value for r in good if (value := getattr(r, name)) is not None]
        out[name] = {"sum": sum(counts), "mean": float(np.mean(counts))} if counts else None
    return out


def _examples(records: Sequence[Record]) -> dict[str, str]:
    """One detail line for each kind of failure."""
    examples: dict[str, str] = {}
    for record in records:
        if record.failure is not None:
            examples.setdefault(str(record.failure), record.detail)
    return examples
