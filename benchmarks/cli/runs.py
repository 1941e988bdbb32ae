"""The commands on stored runs: `report`, `results` and `compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run_directory: Annotated[Path, typer.Argument(metavar="RUN", help="a directory in runs/")],
) -> None:
    """Compute a run's figures and report again from its raw records alone."""
    from quantserve.benchmarks.measure.store import Run
    from quantserve.benchmarks.report.outcome import finish, judged
    from quantserve.benchmarks.scenarios import sections_of

    opened = Run.open(run_directory)
    judged(finish(opened, sections_of(str(opened.config().get("scenario")))))


def results(
    run_directories: Annotated[list[Path], typer.Argument(metavar="RUN...", help="finished runs, in order")],
    out: Annotated[Path, typer.Option(help="the file to write")] = Path("docs/results.md"),
) -> None:
    """Write docs/results.md from stored runs."""
    from quantserve.benchmarks.measure.store import Run
    from quantserve.benchmarks.report.documents import results_page
    from quantserve.benchmarks.scenarios import sections_of
    from quantserve.core.console import emit_json
    from quantserve.core.files import write_text

    runs = [Run.open(path) for path in run_directories]
    write_text(out, results_page([(run, sections_of(str(run.config().get("scenario")))) for run in runs]))
    emit_json({"written": str(out), "runs": len(runs)})


def compare(
    run_a: Annotated[Path, typer.Argument(metavar="A", help="the run before")],
    run_b: Annotated[Path, typer.Argument(metavar="B", help="the run after")],
    fail_on: Annotated[
        list[str] | None, typer.Option(help="ttft_p95>+10%, output_tps<-5%, e2e_p99>2s; may be repeated")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="write the table there too")] = None,
) -> None:
    """Compare two runs; exit code 1 when B breaks a limit and chance does not explain it.

    With limits, code 7 or 8 when none is broken and one of the runs is not valid, or not known to be.
    """
    from quantserve.benchmarks.errors import RegressionFound
    from quantserve.benchmarks.report.change import parse_limit
    from quantserve.benchmarks.report.compare import compare as compare_runs
    from quantserve.benchmarks.report.outcome import judged
    from quantserve.benchmarks.report.sections import reasons
    from quantserve.core.console import console, emit_json
    from quantserve.core.files import write_text

    wanted = [parse_limit(part) for text in fail_on or [] for part in text.split(",")]
    result = compare_runs(run_a, run_b, wanted)
    typer.echo(result.table.markdown())
    if markdown is not None:
        write_text(markdown, f"### {result.table.title}\n\n{result.table.markdown()}")
    for item in result.noise:
        console.print(f"{item.point}: {item.limit} is crossed, but within noise", markup=False)
    for letter, verdict in result.verdicts.items():
        for line in reasons(verdict):
            console.print(f"{letter} is {verdict['verdict']}: {line}", markup=False)
    for text in result.unknown:
        console.print(f"not judged, too little data: {text}", markup=False)
    emit_json(result.to_json())
    if result.broken:
        worst = result.broken[0]
        raise RegressionFound(
            f"{len(result.broken)} limits are broken, the first {worst.limit} at {worst.point}",
            mend="See the table above",
        )
    if wanted:
        for verdict in sorted(result.verdicts.values(), key=lambda one: one["valid"] is not False):
            judged({"verdict": verdict})
