"""Whether a measurement may be believed: valid, not valid, or not known, with the reasons. Pure.

Each check looks at one cell. One that lacks the figures to judge by says so, which makes the verdict `not
known`: what nobody looked at is not thereby fine. One that has nothing to judge (a request rate in a closed
loop) says nothing.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

import numpy as np

from quantserve.benchmarks.measure import metrics
from quantserve.benchmarks.records import Failure, Record


@dataclasses.dataclass(frozen=True)
class ValidityLimits:
    """What is still believable."""

    client_cpu_share: float = 0.85
    """Of one core, by the busiest load process."""
    lag_s: float = 0.020
    late_share: float = 0.01
    """Of the looks at the event loop, those that may have come later than that."""
    lag_share_of_ttft: float = 0.05
    """A delayed event loop is forgiven while it is this small beside the TTFT."""
    delivered_rate_share: float = 0.95
    send_delay_s: float = 0.05
    delayed_share: float = 0.05
    """Of the requests of an open loop, those that may have left later than that."""
    requests: int = 10
    failure_share: float = 0.01
    unexpected_hit_share: float = 0.05
    throughput_change: float = 0.30
    repeats: int = 3
    """From which on repeats say whether short cells were steady."""
    clock_step_s: float = 0.05
    other_cpu_share: float = 0.10
    steal_share: float = 0.05


class RunVerdict(StrEnum):
    """Whether figures may be believed."""

    VALID = "valid"
    NOT_VALID = "not valid"
    NOT_KNOWN = "not known"


@dataclasses.dataclass(frozen=True)
class Reason:
    """Why a cell is not to be believed."""

    code: str
    text: str
    known: bool = True
    """False: not that something is wrong, but that nobody knows whether it is."""


def verdict(reasons: Sequence[Reason]) -> RunVerdict:
    """One thing wrong makes it not valid; else one thing unknown makes it not known."""
    if any(reason.known for reason in reasons):
        return RunVerdict.NOT_VALID
    return RunVerdict.NOT_KNOWN if reasons else RunVerdict.VALID


def unknown(code: str, text: str) -> Reason:
    """A check that lacks the figures to judge by."""
    return Reason(code, text, known=False)


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
    load_processes: int = 1
    """0: what is measured asks by itself, so there is no client to be slow."""
    new_prompts: bool = False
    """The prompts were drawn for this run, so that no cache can hold them."""
    processes_unknown: str = ""
    """Why the server's processes are not known."""


def judge_machine(samples: Sequence[dict[str, Any]], summary: dict[str, float | None]) -> list[Reason]:
    """All reasons against a measurement without requests: what the machine did meanwhile."""
    evidence = Evidence([], [], samples, summary, client_cpu_share=None, users=None, rate_per_s=None)
    return [reason for check in MACHINE_CHECKS if (reason := check(evidence, ValidityLimits())) is not None]


def judge(evidence: Evidence, limits: ValidityLimits | None = None) -> list[Reason]:
    """All reasons against one cell by itself; `judge_steady` looks at a point's cells together."""
    limits = limits or ValidityLimits()
    return [reason for check in CHECKS if (reason := check(evidence, limits)) is not None]


def _client(e: Evidence, limits: ValidityLimits) -> Reason | None:
    if e.load_processes == 0:
        return None
    if e.client_cpu_share is None or not e.lags:
        return unknown("client_unknown", "how busy and how late the load processes were was not recorded")
    if e.client_cpu_share > limits.client_cpu_share:
        return Reason(
            "client_saturated",
            f"a load process used {e.client_cpu_share:.0%} of a core; use more with --processes",
        )
    # Every delay of the cell is here, so that shares of them are counted, not estimated.
    ttfts = [value for r in e.records if (value := metrics.ttft_s(r)) is not None]
    allowed = max(limits.lag_s, limits.lag_share_of_ttft * float(np.median(ttfts)) if ttfts else 0.0)
    late = sum(lag > allowed for lag in e.lags) / len(e.lags)
    if late > limits.late_share:
        return Reason(
            "client_late",
            f"the client's event loop ran over {allowed * 1e3:.0f} ms late {late:.0%} of the time",
        )
    return None


def _rate(e: Evidence, limits: ValidityLimits) -> Reason | None:
    if e.rate_per_s is None:
        return None
    if len(e.records) < 2:
        return unknown("rate_unknown", f"{len(e.records)} requests have no rate")
    intended = max(r.intended_s for r in e.records) - min(r.intended_s for r in e.records)
    real = max(r.sent_s for r in e.records) - min(r.sent_s for r in e.records)
    if 0 < intended < real * limits.delivered_rate_share:
        return Reason("rate_not_delivered", f"only {intended / real:.0%} of the asked request rate was sent")
    delays = [metrics.send_delay_s(r) for r in e.records if r.turn == 0]
    late = sum(delay > limits.send_delay_s for delay in delays) / len(delays) if delays else 0.0
    if late > limits.delayed_share:
        return Reason(
            "rate_not_delivered",
            f"{late:.0%} of the requests left over {limits.send_delay_s * 1e3:.0f} ms late",
        )
    return None


def _few(e: Evidence, limits: ValidityLimits) -> Reason | None:
    good = sum(r.ok for r in e.records)
    if good >= limits.requests:
        return None
    return Reason("too_few_requests", f"{good} requests succeeded; at least {limits.requests} are needed")


def _failures(e: Evidence, limits: ValidityLimits) -> Reason | None:
    asked = [r for r in e.records if r.failure != Failure.CUT_OFF]
    failed = [r for r in asked if not r.ok]
    if asked and len(failed) / len(asked) > limits.failure_share:
        return Reason("failures", f"{len(failed)} of {len(asked)} requests failed ({failed[0].failure})")
    return None


def _cache(e: Evidence, limits: ValidityLimits) -> Reason | None:
    if not e.single_turn:
        return None
    prompt = sum(r.prompt_tokens or 0 for r in e.records if r.ok)
    expected = e.shared_tokens / prompt if prompt else 0.0
    known = [r.cached_tokens for r in e.records if r.ok and r.cached_tokens is not None]
    hits = sum(known) / prompt if prompt and known else e.summary.get("prefix_hit_share")
    if hits is None:
        if e.new_prompts:  # no cache holds what was never sent
            return None
        text = "the server does not say what its prefix cache gave, and the prompts may have been sent before"
        return unknown("cache_unknown", text)
    if hits > expected + limits.unexpected_hit_share:
        return Reason(
            "warm_cache",
            f"{hits:.0%} of prompt tokens came from the prefix cache, the workload repeats {expected:.0%}; "
            "use another --seed",
        )
    return None


def judge_steady(
    cells: Sequence[Sequence[Record]], users: int | None, limits: ValidityLimits | None = None
) -> Reason | None:
    """Whether the throughput of a closed loop was the same all the time, from the cells of one point.

    A cell that is long enough is compared by halves. One that is not can only be compared with its repeats.
    An open loop has the throughput that its arrivals give it.
    """
    limits = limits or ValidityLimits()
    if users is None:
        return None
    changes = [_change(cell, users) for cell in cells]
    for change in changes:
        if change is not None and abs(change) > limits.throughput_change:
            return Reason(
                "unsteady", f"throughput changed by {change:+.0%} from the first half to the second"
            )
    if None not in changes:
        return None
    rates = [rate for cell in cells if (rate := _rate_of(cell)) is not None]
    if len(rates) < max(limits.repeats, len(cells)):
        asked = f"{max(map(len, cells))} requests by {users} users, {len(cells)} times"
        return unknown("steadiness_unknown", f"too short to see whether throughput was steady: {asked}")
    spread = max(rates) / min(rates) - 1
    if spread > limits.throughput_change:
        return Reason("unsteady", f"throughput differs by {spread:.0%} between the repeats")
    return None


def _rate_of(records: Sequence[Record]) -> float | None:
    """Tokens read and written a second over a whole cell."""
    good = [r for r in records if r.ok and r.done_s is not None]
    if not good:
        return None
    span = max(r.done_s or 0.0 for r in good) - min(r.sent_s for r in good)
    tokens = sum((r.prompt_tokens or 0) + (r.completion_tokens or 0) for r in good)
    return tokens / span if tokens and span > 0 else None


def _change(records: Sequence[Record], users: int) -> float | None:
    """By how much the throughput differs in the second half of a cell; None where it is too short to say.

    Halves are of whole rounds, since requests of one length move in step and a cut elsewhere gives one half
    the pause in which all prompts are read; and tokens read and written are counted, since one half may have
    the longer prompts.
    """
    good = [r for r in records if r.ok and r.token_s]
    if len(good) < max(40, 4 * users):
        return None
    ended = sorted(r.done_s or r.token_s[-1] for r in good)
    rounds = len(good) // users
    # The first rounds warm up; in the last one users run out of requests.
    first, last = (2 if rounds >= 8 else 1), rounds - 1
    marks = [ended[users * done - 1] for done in (first, (first + last) // 2, last)]
    read = [(r.token_s[0], float(r.prompt_tokens or 0)) for r in good]
    written = [pair for r in good for pair in zip(r.token_s, metrics.chunk_tokens(r), strict=False)]
    stamps, counts = np.array(sorted(read + written)).T
    total = np.concatenate([[0], np.cumsum(counts)])
    tokens, seconds = np.diff(total[np.searchsorted(stamps, marks, side="right")]), np.diff(marks)
    if min(*tokens, *seconds) == 0:
        return None
    before, after = tokens / seconds
    return float(after / before - 1)


def _clock(e: Evidence, limits: ValidityLimits) -> Reason | None:
    for r in e.records:
        stamps = [r.sent_s, *([] if r.first_byte_s is None else [r.first_byte_s]), *r.token_s]
        if r.done_s is not None:
            stamps.append(r.done_s)
        if any(b < a for a, b in itertools.pairwise(stamps)):
            return Reason("clock", f"the stamps of request {r.cell}/{r.task} are not in order")
    if len(e.samples) < 2:
        return unknown("not_sampled", "nobody watched the machine and its clock meanwhile")
    first, last = e.samples[0], e.samples[-1]
    step = (last["wall_s"] - first["wall_s"]) - (last["t_s"] - first["t_s"])
    if abs(step) > limits.clock_step_s:
        return Reason("clock", f"the wall clock stepped by {step * 1e3:+.0f} ms; was the machine suspended?")
    return None


def _machine(e: Evidence, limits: ValidityLimits) -> Reason | None:
    other, steal = e.summary.get("other_cpu_share"), e.summary.get("steal_share")
    if other is not None and other > limits.other_cpu_share:
        return Reason("busy_machine", f"other programs used {other:.0%} of this machine's cores")
    if steal is not None and steal > limits.steal_share:
        return Reason("stolen_cpu", f"the host took {steal:.0%} of this machine's CPU time away")
    if other is None:
        why = e.processes_unknown or "the processor time of the server's processes was not recorded"
        return unknown("other_load_unknown", f"how busy other programs kept the machine is not known: {why}")
    if steal is None:
        return unknown("steal_unknown", "how much CPU time the host took away was not recorded")
    return None


CHECKS: tuple[Callable[[Evidence, ValidityLimits], Reason | None], ...] = (
    _client,
    _rate,
    _few,
    _failures,
    _cache,
    _clock,
    _machine,
)
MACHINE_CHECKS = (_clock, _machine)
"""Those that hold for a measurement without requests, too."""
