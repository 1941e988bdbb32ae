"""`benchmarks features`: engine features on and off."""

from __future__ import annotations

from typing import Annotated

import typer

from quantserve.benchmarks.commands import parameters as p
from quantserve.core.options import spread


@spread
def features(
    target: Annotated[str, typer.Argument(help="a checkpoint or artifact directory")] = p.BASE,
    only: Annotated[
        list[str] | None, typer.Option(help="prefix-caching, chunked-prefill, speculation, …")
    ] = None,
    profile: p.Profile = None,
    *,
    recorded: p.RecordedQuick,
) -> None:
    """Engine features on and off, each on a workload where it should help and one where it should hurt."""
    import dataclasses

    from quantserve.benchmarks.programs import common
    from quantserve.benchmarks.programs import features as program

    how = program.QUICK if recorded.quick else program.FeatureOptions()
    how = dataclasses.replace(how, only=tuple(only) if only else how.only, profile=profile)
    common.judged(program.measure(target, recorded.options(3), how))
