"""`benchmarks report`: a stored run's report again, from its raw records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run_directory: Annotated[Path, typer.Argument(metavar="RUN", help="a directory in runs/")],
) -> None:
    """Compute a run's figures and report again from its raw records alone."""
    from quantserve.benchmarks.programs import common, registry
    from quantserve.benchmarks.store import Run

    opened = Run.open(run_directory)
    common.judged(common.finish(opened, registry.sections_of(str(opened.config().get("program")))))
