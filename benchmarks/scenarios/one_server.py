"""One server: any load (`run`), or curves over concurrency, the knee and the best rate (`latency`).

quantserve benchmarks run --base-url http://127.0.0.1:8000/v1 --load closed:8 --load poisson:2
quantserve benchmarks latency --base-url http://127.0.0.1:8000/v1 --slo ttft=1s,tpot=100ms
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quantserve.benchmarks.load.arrivals import Load, closed_loads, parse_load
from quantserve.benchmarks.load.workload import Workload
from quantserve.benchmarks.measure.bench import Bench, CellOptions, ScenarioOptions, begin
from quantserve.benchmarks.measure.metrics import point
from quantserve.benchmarks.measure.store import Run
from quantserve.benchmarks.report import units
from quantserve.benchmarks.report.outcome import finish
from quantserve.benchmarks.servers import Server
from quantserve.core.report.table import Section, Table


@dataclasses.dataclass(frozen=True)
class LoadPoint:
    """One measured load: what was offered and what came of it."""

    offered: float
    """Users, or requests per second."""
    throughput: float
    """Output tokens per second."""
    latency_s: float
    """The latency that matters, such as median E2E."""
    meets_slo: bool = True


def users_ladder(highest: int) -> list[int]:
    """1, 2, 4, … up to and including `highest`."""
    steps = [1 << power for power in range(int(math.log2(highest)) + 1)]
    return steps if steps[-1] == highest else [*steps, highest]


def knee(points: list[LoadPoint]) -> LoadPoint | None:
    """The point of highest power (throughput / latency), Kleinrock's optimum.

    Below it a server idles, above it requests mostly wait. None without two points.
    L. Kleinrock, "Power and deterministic rules of thumb for probabilistic problems in computer
    communications", ICC 1979.
    """
    usable = [one for one in points if one.latency_s > 0 and one.throughput > 0]
    return max(usable, key=lambda one: one.throughput / one.latency_s) if len(usable) > 1 else None


def next_rate(points: list[LoadPoint], precision: float = 0.1) -> float | None:
    """The next request rate to try in the search for the highest that meets the SLO; None: found.

    Doubles until a rate fails, halves while none passes, then bisects (geometrically) until the highest
    passing and the lowest failing rate are within `precision` of each other.
    """
    passed = [one.offered for one in points if one.meets_slo]
    failed = [point.offered for point in points if not point.meets_slo]
    if not points:
        return 1.0
    if not failed:
        return max(passed) * 2
    low, high = max((rate for rate in passed if rate < min(failed)), default=None), min(failed)
    if low is None:
        return high / 2 if high > 1 / 64 else None
    return None if high / low - 1 <= precision else math.sqrt(low * high)


def highest_passing(points: list[LoadPoint]) -> float | None:
    """The highest rate that met the SLO below the lowest one that did not."""
    failed = [point.offered for point in points if not point.meets_slo]
    passed = [one.offered for one in points if one.meets_slo]
    limit = min(failed, default=math.inf)
    return max((rate for rate in passed if rate < limit), default=None)


def measure_run(
    server: Server, workload: Workload, loads: Sequence[Load], options: ScenarioOptions, base: CellOptions
) -> dict[str, Any]:
    """Measure each load, `options.repeats` times in turn, and write the report; return the metrics."""
    wanted = [load.text for load in loads]
    details = {"workload": workload.text, "loads": wanted}
    bench = begin("run", f"{server.model} under {', '.join(wanted)}", options, details)
    counted = [(load, base.requests) for load in loads]
    with bench.showing():
        for repeat in range(options.repeats):
            bench.loads(
                server, _subject(server), workload, counted, repeat=repeat, warmup=base.warmup, base=base
            )
    return finish(bench.run, None)


def _subject(server: Server) -> str:
    return server.info.get("version") or server.model


@dataclasses.dataclass(frozen=True)
class LatencyOptions:
    """How far to go."""

    highest_users: int = 32
    requests_per_user: int = 4
    least_requests: int = 32
    rate_seconds: float = 30.0
    """Of each rate that is tried, where there is an SLO to meet."""
    good_share: float = 0.95
    """Share of requests that must be good for a rate to pass."""
    most_rates: int = 8


FULL = LatencyOptions()
QUICK = LatencyOptions(
    highest_users=16, requests_per_user=2, least_requests=12, rate_seconds=10.0, most_rates=4
)


def measure_latency(
    server: Server, workload: Workload, options: ScenarioOptions, how: LatencyOptions
) -> dict[str, Any]:
    """Measure one server and write the report; return the metrics."""
    bench = begin("latency", f"Latency of {server.model}", options, {"workload": workload.text})
    loads = closed_loads(users_ladder(how.highest_users), how.requests_per_user, how.least_requests)
    with bench.showing():
        for repeat in range(options.repeats):
            bench.loads(server, _subject(server), workload, loads, repeat=repeat)
        if not options.slo.empty:
            points = _search(bench, server, workload, how)
            bench.run.put_extra({"rates": [dataclasses.asdict(p) for p in points]})
    return finish(bench.run, sections)


def _search(bench: Bench, server: Server, workload: Workload, how: LatencyOptions) -> list[LoadPoint]:
    points: list[LoadPoint] = []
    while len(points) < how.most_rates and (rate := next_rate(points)) is not None:
        cell = CellOptions(max(8, round(rate * how.rate_seconds)), seed=bench.seed(90, len(points)))
        measured = bench.cell(server, _subject(server), workload, parse_load(f"poisson:{rate:.4g}"), 0, cell)
        figures = point(measured.records, bench.options.slo)
        passes = (figures["good_share"] or 0.0) >= how.good_share
        points.append(
            LoadPoint(rate, figures["output_tps"] or 0.0, figures["e2e"]["p50"] or 0.0, meets_slo=passes)
        )
    return points


def sections(run: Run, metrics: dict[str, Any], folder: Path) -> list[Section]:
    """The knee and the highest good rate."""
    closed = [p for p in metrics["points"] if p["users"] is not None]
    points = [
        LoadPoint(p["users"], p["figures"]["output_tps"] or 0.0, p["figures"]["e2e"]["p50"] or 0.0)
        for p in closed
    ]
    best = knee(points)
    rows = []
    if best is not None:
        edge = (
            " or beyond: the highest that was tried" if best.offered == max(p.offered for p in points) else ""
        )
        rows.append(["knee (highest throughput ÷ latency)", f"{best.offered:g} users{edge}"])
        rows.append(["output tok/s at the knee", units.number(best.throughput)])
        rows.append(["E2E p50 at the knee", f"{units.ms(best.latency_s)} ms"])
        top = max(points, key=lambda p: p.throughput)
        rows.append(["highest output tok/s", f"{units.number(top.throughput)} at {top.offered:g} users"])
    tried = [LoadPoint(**value) for value in run.extra().get("rates") or []]
    if tried:
        rate = highest_passing(tried)
        found = "none that was tried" if rate is None else f"{rate:.3g} requests per second"
        rows.append(["highest rate that meets the SLO", found])
    return [Section("In short", "", [Table("In short", ["what", "value"], rows)])] if rows else []
