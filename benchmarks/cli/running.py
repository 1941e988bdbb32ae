"""The commands that measure a server that runs already: `run`, `latency`, `crosscheck` and `rag`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quantserve.benchmarks.cli import options as o
from quantserve.core.options import spread


@spread
def run(
    server: o.RunningServer,
    workload: o.WorkloadText = o.DEFAULT_WORKLOAD,
    load: Annotated[
        list[str] | None, typer.Option(help="closed:8, poisson:4.5, constant:2, burst:4x8, trace:FILE")
    ] = None,
    requests: Annotated[int, typer.Option(min=1, help="requests per load")] = 100,
    duration: Annotated[float | None, typer.Option(help="stop sending after so many seconds")] = None,
    warmup: Annotated[int, typer.Option(min=0, help="requests sent first and not counted")] = 4,
    timeout: Annotated[float, typer.Option(help="seconds until a request has failed")] = 600.0,
    chunk_usage: Annotated[bool, typer.Option(help="ask for token counts on every chunk")] = False,
    slo: o.SloText = "",
    processes: o.Processes = None,
    *,
    recorded: o.Recorded,
) -> None:
    """Put any load on any OpenAI-compatible server."""
    from dataclasses import replace

    from quantserve.benchmarks.load.arrivals import parse_load
    from quantserve.benchmarks.load.workload import parse_workload
    from quantserve.benchmarks.measure.bench import CellOptions
    from quantserve.benchmarks.measure.metrics import parse_slo
    from quantserve.benchmarks.report.outcome import judged
    from quantserve.benchmarks.scenarios.one_server import measure_run

    loads = [parse_load(text) for text in load or ["closed:8"]]
    asked = parse_workload(workload)
    options = replace(recorded.options(1), slo=parse_slo(slo), processes=processes)
    base = CellOptions(
        requests, duration_s=duration, warmup=warmup, timeout_s=timeout, chunk_usage=chunk_usage
    )
    judged(measure_run(server.attached(), asked, loads, options, base))


@spread
def latency(
    server: o.RunningServer,
    workload: o.WorkloadText = o.DEFAULT_WORKLOAD,
    users: Annotated[int | None, typer.Option(min=1, help="highest concurrency of the sweep")] = None,
    slo: o.SloText = "ttft=2s,tpot=250ms",
    processes: o.Processes = None,
    *,
    recorded: o.RecordedQuick,
) -> None:
    """Curves over concurrency, the knee, and the highest rate that meets the SLO, for one server."""
    from dataclasses import replace

    from quantserve.benchmarks.load.workload import parse_workload
    from quantserve.benchmarks.measure.metrics import parse_slo
    from quantserve.benchmarks.report.outcome import judged
    from quantserve.benchmarks.scenarios import one_server

    how = recorded.choose(one_server, highest_users=users)
    options = replace(recorded.options(3), slo=parse_slo(slo), processes=processes)
    judged(one_server.measure_latency(server.attached(), parse_workload(workload), options, how))


@spread
def crosscheck(
    base_url: Annotated[
        str, typer.Option("--base-url", envvar="OPENAI_BASE_URL", help="the server's /v1 address")
    ] = o.DEFAULT_URL,
    tokenizer: Annotated[str, typer.Option(help="the model's directory, for the other instruments")] = o.BASE,
    guidellm: Annotated[str | None, typer.Option(help="path of the guidellm program")] = None,
    users: Annotated[int | None, typer.Option(min=1, help="concurrency")] = None,
    requests: Annotated[int | None, typer.Option(min=1, help="requests per measurement")] = None,
    *,
    recorded: o.Recorded,
) -> None:
    """Ours, `vllm bench serve` and GuideLLM in turns on one server: do they see the same?"""
    from dataclasses import replace

    from quantserve.benchmarks.report.outcome import judged
    from quantserve.benchmarks.scenarios import crosscheck as scenario

    how = scenario.CrosscheckOptions(str(Path(tokenizer).resolve()), guidellm)
    how = replace(how, users=users or how.users, requests=requests or how.requests)
    judged(scenario.measure(o.RunningServer(base_url).attached(), recorded.options(3), how))


@spread
def rag(
    base_url: Annotated[
        str | None, typer.Option(help="a running server; otherwise TARGET is started")
    ] = None,
    target: Annotated[str, typer.Option(help="checkpoint or artifact to start")] = o.BASE,
    index: Annotated[Path, typer.Option(help="rag's index folder")] = o.INDEX,
    questions: Annotated[Path | None, typer.Option(help="JSON lines with a question each")] = None,
    rerank_model: Annotated[
        str, typer.Option(help="cross-encoder (directory or hub id) to rerank with; by default none")
    ] = "",
    users: Annotated[str | None, typer.Option(help="concurrencies, as 1,4,16")] = None,
    sizes: Annotated[str | None, typer.Option(help="corpus sizes, as 1000,100000")] = None,
    api_key: o.ApiKey = None,
    *,
    recorded: o.RecordedQuick,
) -> None:
    """Where the time of a RAG answer goes, by concurrency and corpus size."""
    import contextlib

    from quantserve.benchmarks import servers
    from quantserve.benchmarks.report.outcome import judged
    from quantserve.benchmarks.scenarios.rag import answers

    how = recorded.choose(
        answers,
        index=index,
        questions=questions,
        rerank_model=rerank_model,
        users=o.numbers(users),
        corpus_sizes=o.numbers(sizes),
    )
    running = (
        servers.ours(target)
        if base_url is None
        else contextlib.nullcontext(o.RunningServer(base_url, api_key=api_key).attached())
    )
    with running as server:
        judged(answers.measure(server, recorded.options(3), how))
