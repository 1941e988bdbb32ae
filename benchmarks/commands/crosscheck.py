"""`benchmarks crosscheck`: whether other instruments see the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quantserve.benchmarks.commands import parameters as p
from quantserve.core.options import spread


@spread
def crosscheck(
    base_url: p.BaseUrl = p.DEFAULT_URL,
    tokenizer: Annotated[str, typer.Option(help="the model's directory, for the other instruments")] = p.BASE,
    guidellm: Annotated[str | None, typer.Option(help="path of the guidellm program")] = None,
    users: Annotated[int | None, typer.Option(min=1, help="concurrency")] = None,
    requests: Annotated[int | None, typer.Option(min=1, help="requests per measurement")] = None,
    *,
    recorded: p.Recorded,
) -> None:
    """Ours, `vllm bench serve` and GuideLLM in turns on one server: do they see the same?"""
    import dataclasses

    from quantserve.benchmarks.programs import common
    from quantserve.benchmarks.programs import crosscheck as program
    from quantserve.benchmarks.servers import attach

    how = program.CrossOptions(str(Path(tokenizer).resolve()), guidellm)
    how = dataclasses.replace(how, users=users or how.users, requests=requests or how.requests)
    common.judged(program.measure(attach(base_url, None, None), recorded.options(3), how))
