"""`rag list`: the documents in the index."""

from __future__ import annotations

from dataclasses import replace

from quantserve.core.console import console, emit_json
from quantserve.core.terminal import one_line
from quantserve.rag.commands import parameters as p


def list_documents(
    index_dir: p.IndexDirOption = p.DEFAULTS.index_dir, json_output: p.JsonOption = False
) -> None:
    """List the documents in the index."""
    from rich.table import Table

    from quantserve.rag.store.base import open_store

    manifest = open_store(replace(p.DEFAULTS, index_dir=index_dir)).open().manifest
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("file", overflow="fold")
    table.add_column("passages", justify="right")
    table.add_column("bytes", justify="right")
    table.add_column("remarks", overflow="fold")
    for entry in manifest.files.values():
        table.add_row(
            one_line(entry.file),
            str(entry.chunks),
            f"{entry.size_bytes:,}",
            one_line(entry.problem or "; ".join(entry.warnings)),
        )
    console.print(table)
    if json_output:
        emit_json({"files": [entry.model_dump(mode="json") for entry in manifest.files.values()]})
