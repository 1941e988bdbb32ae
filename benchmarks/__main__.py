"""`python -m benchmarks …`: the command line. Heavy imports happen in the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.console import run_app

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)

BaseUrl = Annotated[
    str, typer.Option("--base-url", envvar="OPENAI_BASE_URL", help="the server's /v1 address")
]
Model = Annotated[str | None, typer.Option(help="model name; by default the first the server names")]
ApiKey = Annotated[
    str | None, typer.Option(envvar="OPENAI_API_KEY", help="bearer key, if the server wants one")
]
Pid = Annotated[int | None, typer.Option(help="process id of a local server, to sample its memory and CPU")]
WorkloadText = Annotated[
    str, typer.Option("--workload", help="synthetic:prompt=128,output=64 | sharegpt:FILE | bilingual …")
]
Seed = Annotated[int | None, typer.Option(help="repeat the same prompts; drawn anew by default")]
Repeats = Annotated[int | None, typer.Option(help="times to measure everything, in turn")]
SloText = Annotated[str, typer.Option("--slo", help="limits for goodput: ttft=1s,tpot=100ms,e2e=20s")]
Root = Annotated[Path, typer.Option("--out", help="where run directories go")]
Name = Annotated[str | None, typer.Option(help="name of the run directory")]
Processes = Annotated[int | None, typer.Option(help="load processes; as many as needed by default")]
Quick = Annotated[
    bool, typer.Option("--quick", envvar="QUICK", help="a small version, under three minutes on two cores")
]
DEFAULT_URL = "http://127.0.0.1:8000/v1"
DEFAULT_WORKLOAD = "synthetic:prompt=128,output=64"
RUNS = Path("runs")


@app.command()
def run(
    base_url: BaseUrl = DEFAULT_URL,
    model: Model = None,
    api_key: ApiKey = None,
    pid: Pid = None,
    workload: WorkloadText = DEFAULT_WORKLOAD,
    load: Annotated[
        list[str] | None, typer.Option(help="closed:8, poisson:4.5, constant:2, burst:4x8, trace:FILE")
    ] = None,
    requests: Annotated[int, typer.Option(min=1, help="requests per load")] = 100,
    duration: Annotated[float | None, typer.Option(help="stop sending after so many seconds")] = None,
    warmup: Annotated[int, typer.Option(min=0, help="requests sent first and not counted")] = 4,
    timeout: Annotated[float, typer.Option(help="seconds until a request has failed")] = 600.0,
    chunk_usage: Annotated[bool, typer.Option(help="ask for token counts on every chunk")] = False,
    seed: Seed = None,
    repeats: Repeats = None,
    slo: SloText = "",
    out: Root = RUNS,
    name: Name = None,
    processes: Processes = None,
) -> None:
    """Put any load on any OpenAI-compatible server."""
    from benchmarks.load.spec import parse as parse_load
    from benchmarks.measure import CellOptions
    from benchmarks.programs import common, load_run
    from benchmarks.servers import attach
    from benchmarks.workload.spec import parse as parse_workload

    loads = [parse_load(text) for text in load or ["closed:8"]]
    asked = parse_workload(workload)
    options = common.RunOptions(out, name, seed, repeats or 1, common.parse_slo(slo), processes=processes)
    base = CellOptions(
        requests=requests, duration_s=duration, warmup=warmup, timeout_s=timeout, chunk_usage=chunk_usage
    )
    load_run.measure(attach(base_url, model, api_key, pid), asked, loads, options, base)


@app.command()
def latency(
    base_url: BaseUrl = DEFAULT_URL,
    model: Model = None,
    api_key: ApiKey = None,
    pid: Pid = None,
    workload: WorkloadText = DEFAULT_WORKLOAD,
    users: Annotated[int | None, typer.Option(min=1, help="highest concurrency of the sweep")] = None,
    seed: Seed = None,
    repeats: Repeats = None,
    slo: SloText = "ttft=2s,tpot=250ms",
    out: Root = RUNS,
    name: Name = None,
    processes: Processes = None,
    quick: Quick = False,
) -> None:
    """Curves over concurrency, the knee, and the highest rate that meets the SLO, for one server."""
    import dataclasses

    from benchmarks.programs import common
    from benchmarks.programs import latency as program
    from benchmarks.servers import attach
    from benchmarks.workload.spec import parse as parse_workload

    how = program.QUICK if quick else program.LatencyOptions()
    if users is not None:
        how = dataclasses.replace(how, highest_users=users)
    times = repeats or (1 if quick else 3)
    options = common.RunOptions(out, name, seed, times, common.parse_slo(slo), quick, processes)
    program.measure(attach(base_url, model, api_key, pid), parse_workload(workload), options, how)


@app.command()
def report(
    run_directory: Annotated[Path, typer.Argument(metavar="RUN", help="a directory in runs/")],
) -> None:
    """Compute a run's figures and report again from its raw records alone."""
    from benchmarks.programs import common, registry
    from benchmarks.store import Run

    opened = Run.open(run_directory)
    common.finish(opened, registry.sections_of(str(opened.config().get("program"))))


if __name__ == "__main__":
    run_app(app, "benchmarks")
