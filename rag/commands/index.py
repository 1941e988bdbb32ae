"""`rag index`: bring the index up to date."""

from __future__ import annotations

import dataclasses
import time
from typing import Annotated

import typer

from quantserve.core.console import console, emit_json, progress
from quantserve.core.errors import InputError, UsageError
from quantserve.rag.commands import parameters as p


def index(
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Files, folders, web addresses; none: those known.", show_default=False),
    ] = None,
    replace_all: Annotated[bool, typer.Option("--replace", help="Forget everything else.")] = False,
    split: p.SplitOption = "sentence",
    chunk_tokens: Annotated[
        int, typer.Option(min=32, max=480, help="Largest chunk by sentence.")
    ] = p.DEFAULTS.split.chunk_tokens,
    overlap_tokens: Annotated[
        int, typer.Option(min=0, help="What two chunks by sentence share.")
    ] = p.DEFAULTS.split.overlap_tokens,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            envvar="RAG_ALLOW_HOSTS", help="Host that web pages may come from, or *.HOST; may be repeated."
        ),
    ] = None,
    index_dir: p.IndexDirOption = p.DEFAULTS.index_dir,
    embedding_model: p.ModelOption = p.DEFAULTS.embedding.model,
    backend: p.BackendOption = p.DEFAULTS.embedding.backend,
    json_output: p.JsonOption = False,
) -> None:
    """Bring the index up to date: new and changed documents are embedded, deleted ones leave it."""
    from quantserve.rag.embedding.unpack import unpack
    from quantserve.rag.ingest import Listener, index_paths
    from quantserve.rag.ingest.report import passed_over
    from quantserve.rag.show import index_report

    if overlap_tokens >= chunk_tokens:
        raise UsageError("--overlap-tokens must be smaller than --chunk-tokens")
    started = time.perf_counter()
    how = p.split_config(split, chunk_tokens, overlap_tokens)
    config = dataclasses.replace(
        p.rag_config(index_dir, embedding_model, backend, split=how),
        fetch=dataclasses.replace(p.DEFAULTS.fetch, allow_hosts=tuple(allow_host or ())),
    )
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
    for line in passed_over(report.skipped):
        console.print(f"  not read: {line}", markup=False, soft_wrap=True)
    if paths and report.asked < report.files:
        console.print(
            f"  {report.files - report.asked} documents from before stay in the index; "
            "index with --replace to forget them",
            markup=False,
        )
    if json_output:
        emit_json({**dataclasses.asdict(report), "seconds": round(seconds, 2)})
    if paths and not report.asked:
        raise InputError(
            "nothing of what was named is in the index", mend="The lines above say why, file by file"
        )
