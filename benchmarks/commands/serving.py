"""`benchmarks serving`: ours against vLLM's defaults."""

from __future__ import annotations

from typing import Annotated

import typer

from benchmarks.commands import parameters as p


def serving(
    target: Annotated[str, typer.Argument(help="a checkpoint or artifact directory")] = p.BASE,
    profile: Annotated[
        str | None, typer.Option(help="ours is started with it; by default the machine's")
    ] = None,
    workload: Annotated[str | None, typer.Option(help="what is asked")] = None,
    users: Annotated[str | None, typer.Option(help="concurrencies, as 1,32")] = None,
    seed: p.Seed = None,
    repeats: p.Repeats = None,
    out: p.Root = p.RUNS,
    name: p.Name = None,
    quick: p.Quick = False,
) -> None:
    """Ours against vLLM's defaults, same model, dtype and cache, in turns; exit code 1 below the targets."""
    import dataclasses

    from benchmarks.programs import common
    from benchmarks.programs import serving as program

    how = program.QUICK if quick else program.ServingOptions()
    how = dataclasses.replace(
        how, profile=profile, workload=workload or how.workload, users=p.numbers(users) or how.users
    )
    options = common.RunOptions(out, name, seed, repeats or (3 if quick else 5), quick=quick)
    program.measure(target, options, how)
