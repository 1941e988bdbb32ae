"""`benchmarks serving`: ours against vLLM's defaults."""

from __future__ import annotations

from typing import Annotated

import typer

from quantserve.benchmarks.commands import parameters as p
from quantserve.core.options import spread


@spread
def serving(
    target: Annotated[str, typer.Argument(help="a checkpoint or artifact directory")] = p.BASE,
    profile: p.Profile = None,
    workload: Annotated[str | None, typer.Option(help="what is asked")] = None,
    users: Annotated[str | None, typer.Option(help="concurrencies, as 1,32")] = None,
    *,
    recorded: p.RecordedQuick,
) -> None:
    """Ours against vLLM's defaults, same model, dtype and cache, in turns; exit code 1 below the targets."""
    import dataclasses

    from quantserve.benchmarks.programs import common
    from quantserve.benchmarks.programs import serving as program

    how = program.QUICK if recorded.quick else program.ServingOptions()
    how = dataclasses.replace(
        how, profile=profile, workload=workload or how.workload, users=p.numbers(users) or how.users
    )
    common.judged(program.measure(target, recorded.options(5, when_quick=3), how))
