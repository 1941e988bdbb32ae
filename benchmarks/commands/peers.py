"""`benchmarks peers`: ours against other engines."""

from __future__ import annotations

from typing import Annotated

import typer

from quantserve.benchmarks.commands import parameters as p
from quantserve.core.options import spread


@spread
def peers(
    target: Annotated[str, typer.Argument(help="a checkpoint directory")] = p.BASE,
    gguf: Annotated[
        list[str] | None, typer.Option(help="the same model for llama.cpp; may be repeated")
    ] = None,
    llama_guesses: Annotated[
        str | None, typer.Option(help="llama.cpp guessing ahead too, as ngram-cache (its --spec-type)")
    ] = None,
    artifact: Annotated[
        list[str] | None, typer.Option(help="serve this artifact too; may be repeated")
    ] = None,
    profile: p.Profile = None,
    only: Annotated[list[str] | None, typer.Option(help="only subjects whose name contains this")] = None,
    workload: Annotated[str | None, typer.Option(help="what is asked")] = None,
    users: Annotated[str | None, typer.Option(help="concurrencies, as 1,16,32")] = None,
    *,
    recorded: p.RecordedQuick,
) -> None:
    """Ours against plain vLLM, transformers and llama.cpp, in turns."""
    import dataclasses

    from quantserve.benchmarks.programs import common
    from quantserve.benchmarks.programs import peers as program

    how = program.QUICK if recorded.quick else program.PeerOptions()
    how = dataclasses.replace(
        how,
        profile=profile,
        workload=workload or how.workload,
        users=p.numbers(users) or how.users,
        gguf=tuple(gguf or ()),
        llama_guesses=llama_guesses,
        artifacts=tuple(artifact or ()),
        only=tuple(only or ()),
    )
    common.judged(program.measure(target, recorded.options(5), how))
