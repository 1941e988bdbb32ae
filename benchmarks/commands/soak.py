"""`benchmarks soak`: load and trouble for minutes."""

from __future__ import annotations

from typing import Annotated

import typer

from quantserve.benchmarks.commands import parameters as p


def soak(
    target: Annotated[str, typer.Argument(help="a checkpoint or artifact directory")] = p.BASE,
    minutes: Annotated[float, typer.Option(min=0.1, envvar="MINUTES", help="how long")] = 10.0,
    users: Annotated[int | None, typer.Option(min=1, help="users that stream")] = None,
    profile: p.Profile = None,
    seed: p.Seed = None,
    out: p.Root = p.RUNS,
    name: p.Name = None,
) -> None:
    """Load, cancellations and malformed requests for minutes: failures, leaks, drift; exit code 1 on any."""
    import dataclasses

    from quantserve.benchmarks.programs import common
    from quantserve.benchmarks.programs import soak as program

    how = dataclasses.replace(program.SoakOptions(), minutes=minutes, profile=profile)
    how = dataclasses.replace(how, users=users or how.users)
    common.judged(program.measure(target, common.RunOptions(out, name, seed, 1), how))
