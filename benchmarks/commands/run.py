"""`benchmarks run`: any load on any server."""

from __future__ import annotations

from typing import Annotated

import typer

from quantserve.benchmarks.commands import parameters as p
from quantserve.core.options import spread


@spread
def run(
    base_url: p.BaseUrl = p.DEFAULT_URL,
    model: p.Model = None,
    api_key: p.ApiKey = None,
    pid: p.Pid = None,
    workload: p.WorkloadText = p.DEFAULT_WORKLOAD,
    load: Annotated[
        list[str] | None, typer.Option(help="closed:8, poisson:4.5, constant:2, burst:4x8, trace:FILE")
    ] = None,
    requests: Annotated[int, typer.Option(min=1, help="requests per load")] = 100,
    duration: Annotated[float | None, typer.Option(help="stop sending after so many seconds")] = None,
    warmup: Annotated[int, typer.Option(min=0, help="requests sent first and not counted")] = 4,
    timeout: Annotated[float, typer.Option(help="seconds until a request has failed")] = 600.0,
    chunk_usage: Annotated[bool, typer.Option(help="ask for token counts on every chunk")] = False,
    slo: p.SloText = "",
    processes: p.Processes = None,
    *,
    recorded: p.Recorded,
) -> None:
    """Put any load on any OpenAI-compatible server."""
    import dataclasses

    from quantserve.benchmarks.load.spec import parse as parse_load
    from quantserve.benchmarks.measure import CellOptions
    from quantserve.benchmarks.programs import common, load_run
    from quantserve.benchmarks.servers import attach
    from quantserve.benchmarks.workload.spec import parse as parse_workload

    loads = [parse_load(text) for text in load or ["closed:8"]]
    asked = parse_workload(workload)
    options = dataclasses.replace(recorded.options(1), slo=common.parse_slo(slo), processes=processes)
    base = CellOptions(
        requests=requests, duration_s=duration, warmup=warmup, timeout_s=timeout, chunk_usage=chunk_usage
    )
    common.judged(load_run.measure(attach(base_url, model, api_key, pid), asked, loads, options, base))
