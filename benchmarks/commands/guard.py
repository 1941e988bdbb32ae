"""`benchmarks guard`: what the guard costs."""

from __future__ import annotations

from typing import Annotated

import typer

from quantserve.benchmarks.commands import parameters as p
from quantserve.core.options import spread


@spread
def guard(
    target: Annotated[str, typer.Argument(help="a checkpoint or artifact directory")] = p.BASE,
    users: Annotated[int | None, typer.Option(min=1, help="concurrency of the throughput part")] = None,
    *,
    recorded: p.RecordedQuick,
) -> None:
    """What the guard costs over HTTP: the same engine with and without it; exit code 1 above the targets."""
    import dataclasses

    from quantserve.benchmarks.programs import common
    from quantserve.benchmarks.programs import guard as program

    how = program.QUICK if recorded.quick else program.GuardOptions()
    how = dataclasses.replace(how, users=users or how.users)
    common.judged(program.measure(target, recorded.options(5, when_quick=3), how))
