"""`benchmarks features`: engine features on and off."""

from __future__ import annotations

from typing import Annotated

import typer

from benchmarks.commands import parameters as p


def features(
    target: Annotated[str, typer.Argument(help="a checkpoint or artifact directory")] = p.BASE,
    only: Annotated[
        list[str] | None, typer.Option(help="prefix-caching, chunked-prefill, speculation, …")
    ] = None,
    seed: p.Seed = None,
    repeats: p.Repeats = None,
    out: p.Root = p.RUNS,
    name: p.Name = None,
    quick: p.Quick = False,
) -> None:
    """Engine features on and off, each on a workload where it should help and one where it should hurt."""
    import dataclasses

    from benchmarks.programs import common
    from benchmarks.programs import features as program

    how = program.QUICK if quick else program.FeatureOptions()
    how = dataclasses.replace(how, only=tuple(only) if only else how.only)
    options = common.RunOptions(out, name, seed, repeats or (1 if quick else 3), quick=quick)
    program.measure(target, options, how)
