"""`python -m benchmarks …`: the command line. Heavy imports happen in the commands."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

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
BASE = "models/SmolLM2-135M-Instruct"


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


@app.command()
def results(
    run_directories: Annotated[list[Path], typer.Argument(metavar="RUN...", help="finished runs, in order")],
    out: Annotated[Path, typer.Option(help="the file to write")] = Path("docs/results.md"),
) -> None:
    """Write docs/results.md from stored runs."""
    from benchmarks.programs import registry
    from benchmarks.report.results import generate
    from benchmarks.store import Run
    from core.console import emit_json
    from core.files import write_text

    pairs = [(p, registry.sections_of(str(Run.open(p).config().get("program")))) for p in run_directories]
    write_text(out, generate(pairs))
    emit_json({"written": str(out), "runs": len(pairs)})


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(metavar="A", help="the run before")],
    run_b: Annotated[Path, typer.Argument(metavar="B", help="the run after")],
    fail_on: Annotated[
        list[str] | None, typer.Option(help="ttft_p95>+10%, output_tps<-5%, e2e_p99>2s; may be repeated")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="write the table there too")] = None,
) -> None:
    """Compare two runs; exit code 1 when B breaks a limit and chance does not explain it."""
    from benchmarks.compare import command, limits
    from benchmarks.errors import RegressionFound
    from core.console import console, emit_json
    from core.files import write_text

    wanted = [limits.parse(part) for text in fail_on or [] for part in text.split(",")]
    result = command.compare(run_a, run_b, wanted)
    typer.echo(result.table.markdown())
    if markdown is not None:
        write_text(markdown, f"### {result.table.title}\n\n{result.table.markdown()}")
    for item in result.noise:
        console.print(f"{item.point}: {item.limit} is crossed, but within noise", markup=False)
    for text in result.unknown:
        console.print(f"not judged, too little data: {text}", markup=False)
    emit_json(result.to_json())
    if result.broken:
        worst = result.broken[0]
        raise RegressionFound(
            f"{len(result.broken)} limits are broken, the first {worst.limit} at {worst.point}",
            mend="See the table above",
        )


@app.command()
def batching(
    target: Annotated[str, typer.Argument(help="a checkpoint directory")] = BASE,
    workload: Annotated[str | None, typer.Option(help="lengths should differ")] = None,
    users: Annotated[str | None, typer.Option(help="concurrencies, as 1,8,32")] = None,
    seed: Seed = None,
    repeats: Repeats = None,
    out: Root = RUNS,
    name: Name = None,
    quick: Quick = False,
) -> None:
    """What batching buys: one at a time, static, dynamic and continuous."""
    import dataclasses

    from benchmarks.programs import batching as program
    from benchmarks.programs import common

    how = program.QUICK if quick else program.BatchingOptions()
    how = dataclasses.replace(how, workload=workload or how.workload, users=_numbers(users) or how.users)
    options = common.RunOptions(out, name, seed, repeats or (1 if quick else 3), quick=quick)
    program.measure(target, options, how)


@app.command()
def quant(
    targets: Annotated[list[str], typer.Argument(help="the base, then artifacts")],
    workload: Annotated[str | None, typer.Option(help="what is asked")] = None,
    users: Annotated[str | None, typer.Option(help="concurrencies, as 1,8,32")] = None,
    price: Annotated[float | None, typer.Option(help="price of the machine per hour")] = None,
    currency: Annotated[str, typer.Option(help="its currency")] = "USD",
    seed: Seed = None,
    repeats: Repeats = None,
    out: Root = RUNS,
    name: Name = None,
    quick: Quick = False,
) -> None:
    """What quantizing costs and gives: quality beside speed, memory, load time and price."""
    import dataclasses

    from benchmarks.programs import common
    from benchmarks.programs import quant as program

    how = program.QUICK if quick else program.QuantOptions()
    how = dataclasses.replace(
        how,
        workload=workload or how.workload,
        users=_numbers(users) or how.users,
        price_per_hour=how.price_per_hour if price is None else price,
        currency=currency,
    )
    options = common.RunOptions(out, name, seed, repeats or (1 if quick else 3), quick=quick)
    program.measure(targets, options, how)


@app.command()
def features(
    target: Annotated[str, typer.Argument(help="a checkpoint or artifact directory")] = BASE,
    only: Annotated[
        list[str] | None, typer.Option(help="prefix-caching, chunked-prefill, speculation, …")
    ] = None,
    seed: Seed = None,
    repeats: Repeats = None,
    out: Root = RUNS,
    name: Name = None,
    quick: Quick = False,
) -> None:
    """Engine features on and off, each on a workload where it should help and one where it should hurt."""
    import dataclasses

    from benchmarks.programs import common
    from benchmarks.programs import features as program

    how = program.QUICK if quick else program.FeatureOptions()
    how = dataclasses.replace(how, only=tuple(only) if only else how.only)
    options = common.RunOptions(out, name, seed, repeats or (1 if quick else 3), quick=quick)
    program.measure(target, options, how)


@app.command()
def peers(
    target: Annotated[str, typer.Argument(help="a checkpoint directory")] = BASE,
    gguf: Annotated[
        list[str] | None, typer.Option(help="the same model for llama.cpp; may be repeated")
    ] = None,
    artifact: Annotated[
        list[str] | None, typer.Option(help="serve this artifact too; may be repeated")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="only subjects whose name contains this")] = None,
    workload: Annotated[str | None, typer.Option(help="what is asked")] = None,
    users: Annotated[str | None, typer.Option(help="concurrencies, as 1,16,32")] = None,
    seed: Seed = None,
    repeats: Repeats = None,
    out: Root = RUNS,
    name: Name = None,
    quick: Quick = False,
) -> None:
    """Ours against plain vLLM, transformers and llama.cpp, in turns."""
    import dataclasses

    from benchmarks.programs import common
    from benchmarks.programs import peers as program

    how = program.QUICK if quick else program.PeerOptions()
    how = dataclasses.replace(
        how,
        workload=workload or how.workload,
        users=_numbers(users) or how.users,
        gguf=tuple(gguf or ()),
        artifacts=tuple(artifact or ()),
        only=tuple(only or ()),
    )
    options = common.RunOptions(out, name, seed, repeats or (1 if quick else 5), quick=quick)
    program.measure(target, options, how)


@app.command()
def rag(
    base_url: Annotated[
        str | None, typer.Option(help="a running server; otherwise TARGET is started")
    ] = None,
    target: Annotated[str, typer.Option(help="checkpoint or artifact to start")] = BASE,
    index: Annotated[Path, typer.Option(help="rag's index folder")] = Path("run/index"),
    questions: Annotated[Path | None, typer.Option(help="JSON lines with a question each")] = None,
    users: Annotated[str | None, typer.Option(help="concurrencies, as 1,4,16")] = None,
    sizes: Annotated[str | None, typer.Option(help="corpus sizes, as 1000,100000")] = None,
    api_key: ApiKey = None,
    seed: Seed = None,
    repeats: Repeats = None,
    out: Root = RUNS,
    name: Name = None,
    quick: Quick = False,
) -> None:
    """Where the time of a RAG answer goes, by concurrency and corpus size."""
    import dataclasses

    from benchmarks import servers
    from benchmarks.programs import common
    from benchmarks.programs import rag as program

    how = program.QUICK if quick else program.RagOptions()
    how = dataclasses.replace(
        how,
        index=index,
        questions=questions,
        users=_numbers(users) or how.users,
        corpus_sizes=_numbers(sizes) or how.corpus_sizes,
    )
    options = common.RunOptions(out, name, seed, repeats or (1 if quick else 3), quick=quick)
    if base_url is not None:
        program.measure(servers.attach(base_url, None, api_key), options, how)
        return
    with servers.ours(target) as server:
        program.measure(server, options, how)


@app.command()
def retrieval(
    model: Annotated[Path, typer.Option(help="directory of the embedding model")] = Path(
        "models/multilingual-e5-small"
    ),
    sizes: Annotated[str | None, typer.Option(help="corpus sizes, as 1000,1000000")] = None,
    part: Annotated[list[str] | None, typer.Option(help="only embed, or only search")] = None,
    repeats: Repeats = None,
    out: Root = RUNS,
    quick: Quick = False,
) -> None:
    """How fast retrieval embeds, by backend, and searches, up to a million vectors, with recall."""
    import dataclasses

    from benchmarks.programs import retrieval as program

    how = program.QUICK if quick else program.RetrievalOptions()
    how = dataclasses.replace(
        how,
        model=model,
        sizes=_numbers(sizes) or how.sizes,
        repeats=repeats or how.repeats,
        parts=tuple(part or how.parts),
    )
    program.measure(how, out)


@app.command()
def crosscheck(
    base_url: BaseUrl = DEFAULT_URL,
    tokenizer: Annotated[str, typer.Option(help="the model's directory, for the other instruments")] = BASE,
    guidellm: Annotated[str | None, typer.Option(help="path of the guidellm program")] = None,
    users: Annotated[int | None, typer.Option(min=1, help="concurrency")] = None,
    requests: Annotated[int | None, typer.Option(min=1, help="requests per measurement")] = None,
    seed: Seed = None,
    repeats: Repeats = None,
    out: Root = RUNS,
    name: Name = None,
) -> None:
    """Ours, `vllm bench serve` and GuideLLM in turns on one server: do they see the same?"""
    import dataclasses

    from benchmarks.programs import common
    from benchmarks.programs import crosscheck as program
    from benchmarks.servers import attach

    how = program.CrossOptions(str(Path(tokenizer).resolve()), guidellm)
    how = dataclasses.replace(how, users=users or how.users, requests=requests or how.requests)
    options = common.RunOptions(out, name, seed, repeats or 3)
    program.measure(attach(base_url, None, None), options, how)


@app.command()
def serving(
    target: Annotated[str, typer.Argument(help="a checkpoint or artifact directory")] = BASE,
    profile: Annotated[
        str | None, typer.Option(help="ours is started with it; by default the machine's")
    ] = None,
    workload: Annotated[str | None, typer.Option(help="what is asked")] = None,
    users: Annotated[str | None, typer.Option(help="concurrencies, as 1,32")] = None,
    seed: Seed = None,
    repeats: Repeats = None,
    out: Root = RUNS,
    name: Name = None,
    quick: Quick = False,
) -> None:
    """Ours against vLLM's defaults, same model, dtype and cache, in turns; exit code 1 below the targets."""
    import dataclasses

    from benchmarks.programs import common
    from benchmarks.programs import serving as program

    how = program.QUICK if quick else program.ServingOptions()
    how = dataclasses.replace(
        how, profile=profile, workload=workload or how.workload, users=_numbers(users) or how.users
    )
    options = common.RunOptions(out, name, seed, repeats or (3 if quick else 5), quick=quick)
    program.measure(target, options, how)


@app.command()
def guard(
    target: Annotated[str, typer.Argument(help="a checkpoint or artifact directory")] = BASE,
    users: Annotated[int | None, typer.Option(min=1, help="concurrency of the throughput part")] = None,
    seed: Seed = None,
    repeats: Repeats = None,
    out: Root = RUNS,
    name: Name = None,
    quick: Quick = False,
) -> None:
    """What the guard costs over HTTP: the same engine with and without it; exit code 1 above the targets."""
    import dataclasses

    from benchmarks.programs import common
    from benchmarks.programs import guard as program

    how = program.QUICK if quick else program.GuardOptions()
    how = dataclasses.replace(how, users=users or how.users)
    options = common.RunOptions(out, name, seed, repeats or (3 if quick else 5), quick=quick)
    program.measure(target, options, how)


@app.command()
def soak(
    target: Annotated[str, typer.Argument(help="a checkpoint or artifact directory")] = BASE,
    minutes: Annotated[float, typer.Option(min=0.1, envvar="MINUTES", help="how long")] = 10.0,
    users: Annotated[int | None, typer.Option(min=1, help="users that stream")] = None,
    seed: Seed = None,
    out: Root = RUNS,
    name: Name = None,
) -> None:
    """Load, cancellations and malformed requests for minutes: failures, leaks, drift; exit code 1 on any."""
    import dataclasses

    from benchmarks.programs import common
    from benchmarks.programs import soak as program

    how = dataclasses.replace(program.SoakOptions(), minutes=minutes)
    how = dataclasses.replace(how, users=users or how.users)
    program.measure(target, common.RunOptions(out, name, seed, 1), how)


def _numbers(text: str | None) -> tuple[int, ...]:
    from benchmarks.errors import BadOption

    try:
        numbers = tuple(int(part) for part in (text or "").split(",") if part)
    except ValueError as error:
        raise BadOption(f"{text!r} is no list of numbers", mend="Write 1,8,32") from error
    if any(number < 1 for number in numbers):
        raise BadOption(f"{text!r}: numbers start at 1", mend="Write 1,8,32")
    return numbers


def _terminated(number: int, _frame: FrameType | None) -> NoReturn:
    """End as by Ctrl-C, so that servers that were started are stopped."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    run_app(app, "benchmarks")
