"""`rag remove`: take documents out of the index."""

from __future__ import annotations

import dataclasses
import time
from typing import Annotated

import typer

from quantserve.core.console import emit_json
from quantserve.rag.commands import parameters as p


def remove(
    names: Annotated[list[str], typer.Argument(help="Files, folders or addresses, as `rag list` has them.")],
    index_dir: p.IndexDirOption = p.DEFAULTS.index_dir,
    json_output: p.JsonOption = False,
) -> None:
    """Take documents out of the index, not off the disk; they stay out until indexed by name again."""
    from quantserve.rag.ingest import remove_documents
    from quantserve.rag.show import index_report

    started = time.perf_counter()
    config = dataclasses.replace(p.DEFAULTS, index_dir=index_dir)
    report = remove_documents(names, config)
    seconds = time.perf_counter() - started
    index_report(report, seconds)
    if json_output:
        emit_json({**dataclasses.asdict(report), "seconds": round(seconds, 2)})
