"""`benchmarks retrieval`: how fast retrieval embeds and searches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.commands import parameters as p


def retrieval(
    model: Annotated[Path, typer.Option(help="directory of the embedding model")] = Path(
        "models/multilingual-e5-small"
    ),
    sizes: Annotated[str | None, typer.Option(help="corpus sizes, as 1000,1000000")] = None,
    part: Annotated[list[str] | None, typer.Option(help="only embed, or only search")] = None,
    repeats: p.Repeats = None,
    out: p.Root = p.RUNS,
    quick: p.Quick = False,
) -> None:
    """How fast retrieval embeds, by backend, and searches, up to a million vectors, with recall."""
    import dataclasses

    from benchmarks.programs import retrieval as program

    how = program.QUICK if quick else program.RetrievalOptions()
    how = dataclasses.replace(
        how,
        model=model,
        sizes=p.numbers(sizes) or how.sizes,
        repeats=repeats or how.repeats,
        parts=tuple(part or how.parts),
    )
    program.measure(how, out)
