"""`benchmarks compare`: two runs side by side, and whether the second is worse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
    from quantserve.benchmarks.compare import command, limits
    from quantserve.benchmarks.errors import RegressionFound
    from quantserve.benchmarks.programs.common import judged
    from quantserve.benchmarks.report.common import reasons
    from quantserve.core.console import console, emit_json
    from quantserve.core.files import write_text

    wanted = [limits.parse(part) for text in fail_on or [] for part in text.split(",")]
    result = command.compare(run_a, run_b, wanted)
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
