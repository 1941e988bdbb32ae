"""`benchmarks batching`: what batching buys."""

from __future__ import annotations

from typing import Annotated

import typer

from quantserve.benchmarks.commands import parameters as p
from quantserve.core.options import spread


@spread
def batching(
    target: Annotated[str, typer.Argument(help="a checkpoint directory")] = p.BASE,
    workload: Annotated[str | None, typer.Option(help="lengths should differ")] = None,
    users: Annotated[str | None, typer.Option(help="concurrencies, as 1,8,32")] = None,
    profile: p.Profile = None,
    *,
    recorded: p.RecordedQuick,
) -> None:
    """What batching buys: one at a time, static, dynamic and continuous."""
    import dataclasses

    from quantserve.benchmarks.programs import batching as program
    from quantserve.benchmarks.programs import common

    how = program.QUICK if recorded.quick else program.BatchingOptions()
    how = dataclasses.replace(
        how, workload=workload or how.workload, users=p.numbers(users) or how.users, profile=profile
    )
    common.judged(program.measure(target, recorded.options(3), how))
