"""`benchmarks rag`: where the time of a RAG answer goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quantserve.benchmarks.commands import parameters as p
from quantserve.core.home import generated
from quantserve.core.options import spread

INDEX = generated("run/index")


@spread
def rag(
    base_url: Annotated[
        str | None, typer.Option(help="a running server; otherwise TARGET is started")
    ] = None,
    target: Annotated[str, typer.Option(help="checkpoint or artifact to start")] = p.BASE,
    index: Annotated[Path, typer.Option(help="rag's index folder")] = INDEX,
    questions: Annotated[Path | None, typer.Option(help="JSON lines with a question each")] = None,
    rerank_model: Annotated[
        str, typer.Option(help="cross-encoder (directory or hub id) to rerank with; by default none")
    ] = "",
    users: Annotated[str | None, typer.Option(help="concurrencies, as 1,4,16")] = None,
    sizes: Annotated[str | None, typer.Option(help="corpus sizes, as 1000,100000")] = None,
    api_key: p.ApiKey = None,
    *,
    recorded: p.RecordedQuick,
) -> None:
    """Where the time of a RAG answer goes, by concurrency and corpus size."""
    import dataclasses

    from quantserve.benchmarks import servers
    from quantserve.benchmarks.programs import common
    from quantserve.benchmarks.programs import rag as program

    how = program.QUICK if recorded.quick else program.RagOptions()
    how = dataclasses.replace(
        how,
        index=index,
        questions=questions or how.questions,
        rerank_model=rerank_model,
        users=p.numbers(users) or how.users,
        corpus_sizes=p.numbers(sizes) or how.corpus_sizes,
    )
    options = recorded.options(3)
    if base_url is not None:
        common.judged(program.measure(servers.attach(base_url, None, api_key), options, how))
        return
    with servers.ours(target) as server:
        common.judged(program.measure(server, options, how))
