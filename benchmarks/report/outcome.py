"""How a scenario ends: report written, tables shown, a line of JSON printed, its verdict judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from quantserve.benchmarks.errors import NotKnown, NotValid
from quantserve.benchmarks.measure.store import Run
from quantserve.benchmarks.report import sections as common
from quantserve.benchmarks.report.documents import SectionMaker, write_documents
from quantserve.core.console import console, emit_json, styled


def finish(
    run: Run, special: SectionMaker | None, extra_json: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Write the report, show its tables and end with one line of JSON; return the metrics.

    `judged` turns their verdict into the command's exit code.
    """
    metrics, own = write_documents(run, special)
    tables = [table for section in own for table in section.tables]
    if metrics["points"]:
        tables.append(common.brief(metrics["points"]))
    failed = common.failed(metrics["points"], run.extra())
    for table in [*tables, *(failed.tables if failed else [])]:
        console.print(table.rich())
    verdict = metrics["verdict"]
    word, meaning = common.VERDICTS[verdict["verdict"]]
    console.print(styled((word, "green" if verdict["valid"] else "yellow"), f": {meaning}"))
    for line in common.reasons(verdict):
        console.print(f"  {line}", markup=False)
    console.print(f"report: {run.path / 'report.html'}", markup=False)
    emit_json(
        {
            "run": str(run.path),
            "report": str(run.path / "report.html"),
            "verdict": verdict["verdict"],
            "valid": verdict["valid"],
            "reasons": sorted({reason["code"] for reason in verdict["reasons"]}),
            "points": [_brief(p) for p in metrics["points"]],
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
    lines = common.reasons(verdict)
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    kind = NotKnown if verdict["valid"] is None else NotValid
    raise kind(f"the figures are {kind.words}: {lines[0]}{more}")


def _brief(point: dict[str, Any]) -> dict[str, Any]:
    """The figures of a point that a reader of the JSON most likely wants."""
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


def points_of(
    points: Sequence[dict[str, Any]], subject: str, users: int | None = None
) -> Iterator[dict[str, Any]]:
    """Points of a subject, optionally at one concurrency."""
    for point in points:
        if point["subject"] == subject and (users is None or point["users"] == users):
            yield point


def tps(points: Sequence[dict[str, Any]], subject: str, users: int) -> float | None:
    """Output tokens per second of a subject at a concurrency."""
    for point in points_of(points, subject, users):
        value: float | None = point["figures"]["output_tps"]
        return value
    return None
