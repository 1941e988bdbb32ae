"""`benchmarks retrieval`: how fast retrieval embeds and searches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quantserve.benchmarks.commands import parameters as p
from quantserve.core.home import generated
from quantserve.core.options import spread

MODEL = generated("models/multilingual-e5-small")


@spread
def retrieval(
    model: Annotated[Path, typer.Option(help="directory of the embedding model")] = MODEL,
    sizes: Annotated[str | None, typer.Option(help="corpus sizes, as 1000,1000000")] = None,
    part: Annotated[list[str] | None, typer.Option(help="only embed, or only search")] = None,
    *,
    recorded: p.RecordedQuick,
) -> None:
    """How fast retrieval embeds, by backend, and searches, with recall; exit code 1 below the targets."""
    import dataclasses

    from quantserve.benchmarks.programs import common
    from quantserve.benchmarks.programs import retrieval as program

    how = program.QUICK if recorded.quick else program.RetrievalOptions()
    how = dataclasses.replace(
        how, model=model, sizes=p.numbers(sizes) or how.sizes, parts=tuple(part or how.parts)
    )
    common.judged(program.measure(recorded.options(3), how))
