"""`benchmarks guard`: what the guard costs."""

from __future__ import annotations

from typing import Annotated

import typer

from benchmarks.commands import parameters as p


def guard(
    target: Annotated[str, typer.Argument(help="a checkpoint or artifact directory")] = p.BASE,
    users: Annotated[int | None, typer.Option(min=1, help="concurrency of the throughput part")] = None,
    seed: p.Seed = None,
    repeats: p.Repeats = None,
    out: p.Root = p.RUNS,
    name: p.Name = None,
    quick: p.Quick = False,
) -> None:
    """What the guard costs over HTTP: the same engine with and without it; exit code 1 above the targets."""
    import dataclasses

    from benchmarks.programs import common
    from benchmarks.programs import guard as program

    how = program.QUICK if quick else program.GuardOptions()
    how = dataclasses.replace(how, users=users or how.users)
    options = common.RunOptions(out, name, seed, repeats or (3 if quick else 5), quick=quick)
    program.measure(target, options, how)
