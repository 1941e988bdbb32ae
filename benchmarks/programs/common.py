"""What every program does: open a run, measure subjects, write the report, print it."""

from __future__ import annotations

import dataclasses
import secrets
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from quantserve.benchmarks import environment
from quantserve.benchmarks.errors import BadOption, NotKnown, NotValid, ServerUnusable, WorkerFailed
from quantserve.benchmarks.load.spec import Load
from quantserve.benchmarks.measure import Bench, CellOptions
from quantserve.benchmarks.metrics.compute import Slo
from quantserve.benchmarks.report import common as report_common
from quantserve.benchmarks.report.write import SectionMaker, write
from quantserve.benchmarks.servers import Server, public
from quantserve.benchmarks.store import Run
from quantserve.benchmarks.workload.spec import Workload
from quantserve.core.console import console, emit_json, styled
from quantserve.core.home import generated

RUNS = generated("runs")


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """What every program can be told."""

    root: Path = RUNS
    name: str | None = None
    seed: int | None = None
    """None draws one, so that a second run does not meet the first one's prefix cache."""
    repeats: int = 3
    slo: Slo = dataclasses.field(default_factory=Slo)
    quick: bool = False
    processes: int | None = None
    seed_drawn: bool = False

    def settled(self) -> RunOptions:
        """With a seed."""
        if self.seed is not None:
            return self
        return dataclasses.replace(self, seed=secrets.randbelow(10**6), seed_drawn=True)


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


def begin(program: str, title: str, options: RunOptions, details: dict[str, Any]) -> tuple[Run, Bench]:
    """Create the run directory and what measures into it."""
    config = {
        "program": program,
        "title": title,
        "command": f"quantserve benchmarks {shlex.join(public(sys.argv[1:]))}",
        "seed": options.seed,
        "repeats": options.repeats,
        "quick": options.quick,
        "slo": dataclasses.asdict(options.slo),
        **details,
    }
    run = Run.create(options.root, options.name or program, config, environment.collect())
    return run, Bench(run)


def cell_seed(options: RunOptions, repeat: int, index: int) -> int:
    """A seed for one cell: the same for every subject, different for every load and repeat."""
    return (options.seed or 0) * 10_000 + repeat * 100 + index


def measure_loads(
    bench: Bench,
    server: Server,
    subject: str,
    workload: Workload,
    loads: Sequence[tuple[Load, int]],
    options: RunOptions,
    *,
    repeat: int,
    warmup: int = 2,
    base: CellOptions | None = None,
) -> str | None:
    """Measure a subject under each (load, number of requests); return why it had to stop, or None.

    A server that dies on the way is a result of the benchmark, not its end.
    """
    for index, (load, requests) in enumerate(loads):
        cell = dataclasses.replace(
            base or CellOptions(requests=requests),
            requests=requests,
            seed=cell_seed(options, repeat, index),
            warmup=warmup if index == 0 else 0,
            processes=options.processes,
            repeatable=not options.seed_drawn,
        )
        try:
            bench.cell(server, subject, workload, load, repeat, cell)
        except (ServerUnusable, WorkerFailed) as error:
            return str(error)
    return None


def note_failed(run: Run, subject: str, why: str) -> None:
    """Keep that a subject failed, in its own words."""
    console.print(styled((f"{subject} failed:", "yellow"), f" {why}"), soft_wrap=True)
    failed = {**(run.extra().get("failed_subjects") or {}), subject: why}
    run.put_extra({"failed_subjects": failed})


def finish(
    run: Run, special: SectionMaker | None, extra_json: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Write the report, show its tables and end with one line of JSON; return the metrics.

    `judged` turns their verdict into the program's exit code.
    """
    metrics, own = write(run, special)
    tables = [table for section in own for table in section.tables]
    if metrics["points"]:
        tables.append(report_common.brief(metrics["points"]))
    failed = report_common.failed(metrics["points"], run.extra())
    for table in [*tables, *(failed.tables if failed else [])]:
        console.print(table.rich())
    verdict = metrics["verdict"]
    word, meaning = report_common.VERDICTS[verdict["verdict"]]
    console.print(styled((word, "green" if verdict["valid"] else "yellow"), f": {meaning}"))
    for line in report_common.reasons(verdict):
        console.print(f"  {line}", markup=False)
    console.print(f"report: {run.path / 'report.html'}", markup=False)
    emit_json(
        {
            "run": str(run.path),
            "report": str(run.path / "report.html"),
            "verdict": verdict["verdict"],
            "valid": verdict["valid"],
            "reasons": sorted({reason["code"] for reason in verdict["reasons"]}),
            "points": [brief(p) for p in metrics["points"]],
            **(extra_json or {}),
        }
    )
    return metrics


def judged(metrics: dict[str, Any]) -> None:
    """End quietly only on figures that may be believed.

    Raises:
        NotValid, NotKnown: the run's verdict; everything is written before.
    """
    verdict = metrics["verdict"]
    if verdict["valid"]:
        return
    lines = report_common.reasons(verdict)
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    kind = NotKnown if verdict["valid"] is None else NotValid
    raise kind(f"the figures are {kind.words}: {lines[0]}{more}")


def brief(point: dict[str, Any]) -> dict[str, Any]:
    """The figures of a point that a program most likely wants."""
    f = point["figures"]
    latencies = ("ttft", "tpot", "itl", "e2e")
    return {
        "subject": point["subject"],
        "workload": point["workload"],
        "load": point["load"],
        "requests": f["requests"],
        "failed": f["failed"],
        "output_tps": f["output_tps"],
        "requests_ps": f["requests_ps"],
        "goodput_ps": f["goodput_ps"],
        **{f"{m}_{q}_s": f[m][q] for m in latencies for q in ("p50", "p95", "p99")},
        "too_few_for": {f"{m}_{q}_s": count for m in latencies for q, count in f[m]["too_few"].items()},
        "verdict": point["verdict"]["verdict"],
    }


def find(
    points: Sequence[dict[str, Any]], subject: str, users: int | None = None
) -> Iterator[dict[str, Any]]:
    """Points of a subject, optionally at one concurrency."""
    for point in points:
        if point["subject"] == subject and (users is None or point["users"] == users):
            yield point


def tps(points: Sequence[dict[str, Any]], subject: str, users: int) -> float | None:
    """Output tokens per second of a subject at a concurrency."""
    for point in find(points, subject, users):
        value: float | None = point["figures"]["output_tps"]
        return value
    return None
