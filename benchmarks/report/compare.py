"""Is run B worse than run A? Match their points, judge the limits, make the table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quantserve.benchmarks.errors import BadRun
from quantserve.benchmarks.measure.analysis import analyse, slo_of
from quantserve.benchmarks.measure.store import Run
from quantserve.benchmarks.records import Record
from quantserve.benchmarks.report import units
from quantserve.benchmarks.report.change import RATES, Change, MetricLimit, change
from quantserve.core.report.table import Table

SHOWN = (
    "output_tps",
    "requests_ps",
    "ttft_p50",
    "ttft_p95",
    "tpot_p50",
    "itl_p99",
    "e2e_p50",
    "e2e_p95",
    "failure_share",
)
Key = tuple[str, str, str]


@dataclasses.dataclass(frozen=True)
class BrokenLimit:
    """A limit that B broke at one point."""

    point: str
    limit: str
    change: Change
    sure: bool
    """The bootstrap says it is no noise; False: too little data to say."""


@dataclasses.dataclass(frozen=True)
class RunComparison:
    """The outcome."""

    table: Table
    broken: list[BrokenLimit]
    noise: list[BrokenLimit]
    """Crossed a relative limit, but within what chance does."""
    unknown: list[str]
    """Limits that could not be judged."""
    verdicts: dict[str, dict[str, Any]]
    """Of both runs, by the letter: what is compared is believed no more than what it is made of."""

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "verdicts": {letter: verdict["verdict"] for letter, verdict in self.verdicts.items()},
            "regressions": [dataclasses.asdict(item) for item in self.broken],
            "within_noise": [dataclasses.asdict(item) for item in self.noise],
            "not_judged": self.unknown,
        }


def points(run: Run) -> dict[Key, list[Record]]:
    """Records of each point of a run."""
    out: dict[Key, list[Record]] = {}
    for measured in run.measured():
        out.setdefault(measured.cell.point, []).extend(measured.records)
    return out


def match(a: dict[Key, Any], b: dict[Key, Any]) -> list[tuple[Key, Key]]:
    """Pair points by subject, workload and load.

    Runs of one subject each are paired whatever it is called: a new version is compared with the old one.
    """
    if len({key[0] for key in a}) == 1 and len({key[0] for key in b}) == 1:
        by_rest = {key[1:]: key for key in b}
        return [(key, by_rest[key[1:]]) for key in a if key[1:] in by_rest]
    return [(key, key) for key in a if key in b]


def compare(path_a: Path, path_b: Path, limits: Sequence[MetricLimit]) -> RunComparison:
    """Compare two runs.

    Raises:
        BadRun: one of them is none, or they have no point in common.
    """
    run_a, run_b = Run.open(path_a), Run.open(path_b)
    slo = slo_of(run_b.config())
    records_a, records_b = points(run_a), points(run_b)
    pairs = match(records_a, records_b)
    if not pairs:
        raise BadRun(
            f"{path_a} and {path_b} measured nothing in common",
            mend="Compare runs with the same workload and loads",
        )
    rows: list[list[str]] = []
    broken: list[BrokenLimit] = []
    noise: list[BrokenLimit] = []
    unknown: list[str] = []
    for key_a, key_b in pairs:
        name = f"{key_b[0]}, {key_b[2]}"
        metrics = dict.fromkeys((*SHOWN, *(limit.metric for limit in limits)))
        changes = {m: change(m, records_a[key_a], records_b[key_b], slo) for m in metrics}
        bad: set[str] = set()
        for limit in limits:
            found = changes[limit.metric]
            verdict = limit.broken_by(found.a, found.b)
            if verdict is None:
                unknown.append(f"{name}: {limit.text}")
            elif verdict:
                item = BrokenLimit(name, limit.text, found, found.significant is True)
                # Noise cannot excuse an absolute limit: B's value is what it is.
                if limit.relative and found.significant is False:
                    noise.append(item)
                else:
                    broken.append(item)
                    bad.add(limit.metric)
        rows += [_row(name, found, found.metric in bad) for found in changes.values() if found.b is not None]
    columns = ["point", "metric", "A", "B", "change", "95 % interval", ""]
    title = f"{path_a.name} → {path_b.name}"
    verdicts = {"A": analyse(run_a)["verdict"], "B": analyse(run_b)["verdict"]}
    return RunComparison(Table(title, columns, rows), broken, noise, unknown, verdicts)


def _row(name: str, found: Change, bad: bool) -> list[str]:
    if found.metric in RATES:
        values = [units.number(found.a), units.number(found.b)]
    elif found.metric == "failure_share":
        values = [units.percent(found.a), units.percent(found.b)]
    else:
        values = [f"{units.ms(found.a)} ms", f"{units.ms(found.b)} ms"]
    share = units.UNKNOWN if found.share is None else f"{found.share:+.1%}"
    span = units.UNKNOWN
    if found.low is not None and found.high is not None:
        span = f"{found.low:+.1%} … {found.high:+.1%}"
    mark = "**REGRESSION**" if bad else {True: "changed", False: "", None: ""}[found.significant]
    return [name, found.metric, *values, share, span, mark]
