"""One server: curves over concurrency, the knee, and the highest request rate that meets the SLO.

quantserve benchmarks latency --base-url http://127.0.0.1:8000/v1 --slo ttft=1s,tpot=100ms
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from quantserve.benchmarks.load import sweep
from quantserve.benchmarks.load.spec import parse as parse_load
from quantserve.benchmarks.measure import Bench, CellOptions
from quantserve.benchmarks.metrics.compute import point as figures_of
from quantserve.benchmarks.programs.common import RunOptions, begin, cell_seed, finish, measure_loads
from quantserve.benchmarks.report import show
from quantserve.benchmarks.servers import Server
from quantserve.benchmarks.store import Run
from quantserve.benchmarks.workload.spec import Workload
from quantserve.core.report.table import Section, Table


@dataclasses.dataclass(frozen=True)
class LatencyOptions:
    """How far to go."""

    highest_users: int = 32
    requests_per_user: int = 4
    least_requests: int = 32
    search_rate: bool = True
    """Search the highest rate that meets the SLO (needs one)."""
    rate_seconds: float = 30.0
    good_share: float = 0.95
    """Share of requests that must be good for a rate to pass."""
    most_rates: int = 8


QUICK = LatencyOptions(
    highest_users=16, requests_per_user=2, least_requests=12, rate_seconds=10.0, most_rates=4
)


def measure(server: Server, workload: Workload, options: RunOptions, how: LatencyOptions) -> dict[str, Any]:
    """Measure one server and write the report; return the metrics."""
    options = options.settled()
    run, bench = begin("latency", f"Latency of {server.model}", options, {"workload": workload.text})
    subject = server.info.get("version") or server.model
    loads = [
        (parse_load(f"closed:{users}"), max(how.least_requests, users * how.requests_per_user))
        for users in sweep.users_ladder(how.highest_users)
    ]
    with bench.showing():
        for repeat in range(options.repeats):
            measure_loads(bench, server, subject, workload, loads, options, repeat=repeat, warmup=4)
        if how.search_rate and not options.slo.empty:
            points = _search(bench, server, subject, workload, options, how)
            run.put_extra({"rates": [dataclasses.asdict(p) for p in points]})
    return finish(run, sections)


def _search(
    bench: Bench, server: Server, subject: str, workload: Workload, options: RunOptions, how: LatencyOptions
) -> list[sweep.Point]:
    points: list[sweep.Point] = []
    while len(points) < how.most_rates and (rate := sweep.next_rate(points)) is not None:
        count = max(8, round(rate * how.rate_seconds))
        cell = CellOptions(
            requests=count,
            seed=cell_seed(options, 90, len(points)),
            processes=options.processes,
            repeatable=not options.seed_drawn,
        )
        load = parse_load(f"poisson:{rate:.4g}")
        measured = bench.cell(server, subject, workload, load, 0, cell)
        figures = figures_of(measured.records, options.slo)
        passes = (figures["good_share"] or 0.0) >= how.good_share
        points.append(
            sweep.Point(rate, figures["output_tps"] or 0.0, figures["e2e"]["p50"] or 0.0, meets_slo=passes)
        )
    return points


def sections(run: Run, metrics: dict[str, Any], folder: Path) -> list[Section]:
    """The knee and the highest good rate."""
    closed = [p for p in metrics["points"] if p["users"] is not None]
    points = [
        sweep.Point(p["users"], p["figures"]["output_tps"] or 0.0, p["figures"]["e2e"]["p50"] or 0.0)
        for p in closed
    ]
    best = sweep.knee(points)
    rows = []
    if best is not None:
        edge = (
            " or beyond: the highest that was tried" if best.offered == max(p.offered for p in points) else ""
        )
        rows.append(["knee (highest throughput ÷ latency)", f"{best.offered:g} users{edge}"])
        rows.append(["output tok/s at the knee", show.number(best.throughput)])
        rows.append(["E2E p50 at the knee", f"{show.ms(best.latency_s)} ms"])
        top = max(points, key=lambda p: p.throughput)
        rows.append(["highest output tok/s", f"{show.number(top.throughput)} at {top.offered:g} users"])
    tried = [sweep.Point(**value) for value in run.extra().get("rates") or []]
    if tried:
        rate = sweep.highest_passing(tried)
        found = "none that was tried" if rate is None else f"{rate:.3g} requests per second"
        rows.append(["highest rate that meets the SLO", found])
    return [Section("In short", "", [Table("In short", ["what", "value"], rows)])] if rows else []
