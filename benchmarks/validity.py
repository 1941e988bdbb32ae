"""Whether a measurement may be believed: VALID, or the reasons why not. Pure.

Each check looks at one cell and says nothing when it lacks the figures to judge by.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.metrics import latency
from benchmarks.records import Failure, Record


@dataclasses.dataclass(frozen=True)
class Limits:
    """What is still believable."""

    client_cpu_share: float = 0.85
    """Of one core, by the busiest load process."""
    lag_p99_s: float = 0.020
    lag_share_of_ttft: float = 0.05
    """A delayed event loop is forgiven while it is this small beside the TTFT."""
    delivered_rate_share: float = 0.95
    requests: int = 10
    failure_share: float = 0.01
    unexpected_hit_share: float = 0.05
    throughput_change: float = 0.30
    clock_step_s: float = 0.05
    other_cpu_share: float = 0.10
    steal_share: float = 0.05


@dataclasses.dataclass(frozen=True)
class Reason:
    """Why a cell is not to be believed."""

    code: str
    text: str


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What is known about one cell."""

    records: Sequence[Record]
    """Measured requests, without warm-up."""
    lags: Sequence[float]
    samples: Sequence[dict[str, Any]]
    summary: dict[str, float | None]
    client_cpu_share: float | None
    users: int | None
    rate_per_s: float | None
    shared_tokens: int = 0
    """Prompt tokens that the workload itself repeats, over all requests."""
    single_turn: bool = True


def judge_machine(samples: Sequence[dict[str, Any]], summary: dict[str, float | None]) -> list[Reason]:
    """All reasons against a measurement without requests: what the machine did meanwhile."""
    evidence = Evidence([], [], samples, summary, client_cpu_share=None, users=None, rate_per_s=None)
    return [reason for check in MACHINE_CHECKS if (reason := check(evidence, Limits())) is not None]


def judge(evidence: Evidence, limits: Limits | None = None) -> list[Reason]:
    """All reasons against one cell; empty means VALID."""
    limits = limits or Limits()
    return [reason for check in CHECKS if (reason := check(evidence, limits)) is not None]


def _client(e: Evidence, limits: Limits) -> Reason | None:
    if e.client_cpu_share is not None and e.client_cpu_share > limits.client_cpu_share:
        return Reason(
            "client_saturated",
            f"a load process used {e.client_cpu_share:.0%} of a core; use more with --processes",
        )
    if len(e.lags) < 10:
        return None
    lag = float(np.quantile(np.asarray(e.lags), 0.99))
    ttfts = [value for r in e.records if (value := latency.ttft_s(r)) is not None]
    forgiven = limits.lag_share_of_ttft * float(np.median(ttfts)) if ttfts else 0.0
    if lag > max(limits.lag_p99_s, forgiven):
        return Reason("client_late", f"the client's event loop ran {lag * 1e3:.0f} ms late at p99")
    return None


def _rate(e: Evidence, limits: Limits) -> Reason | None:
    if e.rate_per_s is None or len(e.records) < 2:
        return None
    delays = [latency.send_delay_s(r) for r in e.records if r.turn == 0]
    intended = max(r.intended_s for r in e.records) - min(r.intended_s for r in e.records)
    real = max(r.sent_s for r in e.records) - min(r.sent_s for r in e.records)
    if real > 0 and intended / real < limits.delivered_rate_share:
        return Reason("rate_not_delivered", f"only {intended / real:.0%} of the asked request rate was sent")
    late = float(np.quantile(np.asarray(delays), 0.95)) if delays else 0.0
    if late > 0.05:
        return Reason("rate_not_delivered", f"requests left {late * 1e3:.0f} ms after their time at p95")
    return None


def _few(e: Evidence, limits: Limits) -> Reason | None:
    good = sum(r.ok for r in e.records)
    if good >= limits.requests:
        return None
    return Reason("too_few_requests", f"{good} requests succeeded; at least {limits.requests} are needed")


def _failures(e: Evidence, limits: Limits) -> Reason | None:
    asked = [r for r in e.records if r.failure != Failure.CUT_OFF]
    failed = [r for r in asked if not r.ok]
    if asked and len(failed) / len(asked) > limits.failure_share:
        return Reason("failures", f"{len(failed)} of {len(asked)} requests failed ({failed[0].failure})")
    return None


def _cache(e: Evidence, limits: Limits) -> Reason | None:
    if not e.single_turn:
        return None
    prompt = sum(r.prompt_tokens or 0 for r in e.records if r.ok)
    expected = e.shared_tokens / prompt if prompt else 0.0
    known = [r.cached_tokens for r in e.records if r.ok and r.cached_tokens is not None]
    hits = sum(known) / prompt if prompt and known else e.summary.get("prefix_hit_share")
    if hits is not None and hits > expected + limits.unexpected_hit_share:
        return Reason(
            "warm_cache",
            f"{hits:.0%} of prompt tokens came from the prefix cache, the workload repeats {expected:.0%}; "
            "use another --seed",
        )
    return None


def _steady(e: Evidence, limits: Limits) -> Reason | None:
    """Compare halves of whole rounds, since requests of one length move in step and a cut elsewhere gives
    one half the pause in which all prompts are read; and count tokens read and written, since one half may
    have the longer prompts."""
    good = [r for r in e.records if r.ok and r.token_s]
    if e.users is None or len(good) < max(40, 4 * e.users):
        return None
    ended = sorted(r.done_s or r.token_s[-1] for r in good)
    rounds = len(good) // e.users
    # The first rounds warm up; in the last one users run out of requests.
    first, last = (2 if rounds >= 8 else 1), rounds - 1
    marks = [ended[e.users * done - 1] for done in (first, (first + last) // 2, last)]
    read = [(r.token_s[0], float(r.prompt_tokens or 0)) for r in good]
    written = [pair for r in good for pair in zip(r.token_s, latency.chunk_tokens(r), strict=False)]
    stamps, counts = np.array(sorted(read + written)).T
    total = np.concatenate([[0], np.cumsum(counts)])
    tokens, seconds = np.diff(total[np.searchsorted(stamps, marks, side="right")]), np.diff(marks)
    if min(*tokens, *seconds) == 0:
        return None
    before, after = tokens / seconds
    change = after / before - 1
    if abs(change) > limits.throughput_change:
        return Reason("unsteady", f"throughput changed by {change:+.0%} from the first half to the second")
    return None


def _clock(e: Evidence, limits: Limits) -> Reason | None:
    for r in e.records:
        stamps = [r.sent_s, *([] if r.first_byte_s is None else [r.first_byte_s]), *r.token_s]
        if r.done_s is not None:
            stamps.append(r.done_s)
        if any(b < a for a, b in itertools.pairwise(stamps)):
            return Reason("clock", f"the stamps of request {r.cell}/{r.task} are not in order")
    if len(e.samples) > 1:
        first, last = e.samples[0], e.samples[-1]
        step = (last["wall_s"] - first["wall_s"]) - (last["t_s"] - first["t_s"])
        if abs(step) > limits.clock_step_s:
            return Reason(
                "clock", f"the wall clock stepped by {step * 1e3:+.0f} ms; was the machine suspended?"
            )
    return None


def _machine(e: Evidence, limits: Limits) -> Reason | None:
    other, steal = e.summary.get("other_cpu_share"), e.summary.get("steal_share")
    if other is not None and other > limits.other_cpu_share:
        return Reason("busy_machine", f"other programs used {other:.0%} of this machine's cores")
    if steal is not None and steal > limits.steal_share:
        return Reason("stolen_cpu", f"the host took {steal:.0%} of this machine's CPU time away")
    return None


CHECKS: tuple[Callable[[Evidence, Limits], Reason | None], ...] = (
    _client,
    _rate,
    _few,
    _failures,
    _cache,
    _steady,
    _clock,
    _machine,
)
MACHINE_CHECKS = (_clock, _machine)
"""Those that hold for a measurement without requests, too."""
