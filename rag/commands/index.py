"""`rag index`: bring the index up to date."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Annotated

import typer

from core.console import console, emit_json, progress
from core.errors import UsageError
from rag.commands import parameters as p
from rag.config import SplitConfig


def index(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files and folders; none: those known.")] = None,
    replace_all: Annotated[bool, typer.Option("--replace", help="Forget everything else.")] = False,
    chunk_tokens: Annotated[int, typer.Option(min=32, max=480)] = p.DEFAULTS.split.chunk_tokens,
    overlap_tokens: Annotated[int, typer.Option(min=0)] = p.DEFAULTS.split.overlap_tokens,
    index_dir: p.IndexDirOption = p.DEFAULTS.index_dir,
    embedding_model: p.ModelOption = p.DEFAULTS.embedding.model,
    backend: p.BackendOption = p.DEFAULTS.embedding.backend,
    json_output: p.JsonOption = False,
) -> None:
    """Bring the index up to date: new and changed documents are embedded, deleted ones leave it."""
    from rag.embedding.unpack import unpack
    from rag.ingest import Listener, index_paths
    from rag.show import index_report

    if overlap_tokens >= chunk_tokens:
        raise UsageError("--overlap-tokens must be smaller than --chunk-tokens")
    started = time.perf_counter()
    split = SplitConfig(chunk_tokens=chunk_tokens, overlap_tokens=overlap_tokens)
    config = p.rag_config(index_dir, embedding_model, backend, split=split)
    if embedding_model == p.DEFAULTS.embedding.model:
        unpack(embedding_model, report=lambda text: console.print(f"  {text}", style="dim"))
    with progress() as bar:
        task = bar.add_task("reading", total=None)
        listener = Listener(
            reading=lambda file, done, total: bar.update(
                task, description=f"reading {file}", completed=done, total=total
            ),
            embedding=lambda done, total: bar.update(
                task, description="embedding", completed=done, total=total
            ),
            note=lambda text: console.print(f"  {text}", markup=False),
        )
        report = index_paths(paths or [], config, replace=replace_all, listener=listener)
        bar.remove_task(task)
    seconds = time.perf_counter() - started
    index_report(report, seconds)
    if json_output:
        emit_json({**dataclasses.asdict(report), "seconds": round(seconds, 2)})
