"""`benchmarks results`: docs/results.md from stored runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def results(
    run_directories: Annotated[list[Path], typer.Argument(metavar="RUN...", help="finished runs, in order")],
    out: Annotated[Path, typer.Option(help="the file to write")] = Path("docs/results.md"),
) -> None:
    """Write docs/results.md from stored runs."""
    from quantserve.benchmarks.programs import registry
    from quantserve.benchmarks.report.results import generate
    from quantserve.benchmarks.store import Run
    from quantserve.core.console import emit_json
    from quantserve.core.files import write_text

    pairs = [
        (path, registry.sections_of(str(Run.open(path).config().get("program")))) for path in run_directories
    ]
    write_text(out, generate(pairs))
    emit_json({"written": str(out), "runs": len(pairs)})
