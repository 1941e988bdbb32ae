"""The commands that start what they measure: servers, ours and others, and retrieval's parts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quantserve.benchmarks.cli import options as o
from quantserve.benchmarks.tune.space import TuneOptions
from quantserve.core.options import spread

_TUNE = TuneOptions()


@spread
def batching(
    target: o.Checkpoint = o.BASE,
    *,
    load: o.StartedLoad,
    recorded: o.RecordedQuick,
) -> None:
    """What batching buys: one at a time, static, dynamic and continuous."""
    recorded.measure("batching", target, 3, **load.given())


@spread
def quant(
    targets: Annotated[list[str], typer.Argument(help="the base, then artifacts")],
    price: Annotated[float | None, typer.Option(help="price of the machine per hour")] = None,
    currency: Annotated[str, typer.Option(help="its currency")] = "USD",
    *,
    load: o.StartedLoad,
    recorded: o.RecordedQuick,
) -> None:
    """What quantizing costs and gives: quality beside speed, memory, load time and price."""
    recorded.measure("quant", targets, 3, **load.given(), price_per_hour=price, currency=currency)


@spread
def features(
    target: o.Target = o.BASE,
    only: Annotated[
        list[str] | None, typer.Option(help="prefix-caching, chunked-prefill, speculation, …")
    ] = None,
    profile: o.Profile = None,
    *,
    recorded: o.RecordedQuick,
) -> None:
    """Engine features on and off, each on a workload where it should help and one where it should hurt."""
    recorded.measure("features", target, 3, only=tuple(only or ()), profile=profile)


@spread
def peers(
    target: o.Checkpoint = o.BASE,
    gguf: Annotated[
        list[str] | None, typer.Option(help="the same model for llama.cpp; may be repeated")
    ] = None,
    llama_speculation: Annotated[
        str | None,
        typer.Option(help="llama.cpp with speculative decoding too, as ngram-cache (its --spec-type)"),
    ] = None,
    artifact: Annotated[
        list[str] | None, typer.Option(help="serve this artifact too; may be repeated")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="only subjects whose name contains this")] = None,
    *,
    load: o.StartedLoad,
    recorded: o.RecordedQuick,
) -> None:
    """Ours against plain vLLM, transformers and llama.cpp, in turns."""
    recorded.measure(
        "peers",
        target,
        5,
        **load.given(),
        gguf=tuple(gguf or ()),
        llama_speculation=llama_speculation,
        artifacts=tuple(artifact or ()),
        only=tuple(only or ()),
    )


@spread
def serving(
    target: o.Target = o.BASE,
    *,
    load: o.StartedLoad,
    recorded: o.RecordedQuick,
) -> None:
    """Ours against vLLM's defaults, same model, dtype and cache, in turns; exit code 1 below the targets."""
    recorded.measure("serving", target, 5, when_quick=3, **load.given())


@spread
def guard(
    target: o.Target = o.BASE,
    users: Annotated[int | None, typer.Option(min=1, help="concurrency of the throughput part")] = None,
    *,
    recorded: o.RecordedQuick,
) -> None:
    """What the guard costs over HTTP: the same engine with and without it; exit code 1 above the targets."""
    recorded.measure("guard", target, 5, when_quick=3, users=users)


def soak(
    target: o.Target = o.BASE,
    minutes: Annotated[float, typer.Option(min=0.1, envvar="MINUTES", help="how long")] = 10.0,
    users: Annotated[int | None, typer.Option(min=1, help="users that stream")] = None,
    profile: o.Profile = None,
    seed: o.Seed = None,
    out: o.Root = o.RUNS,
    name: o.Name = None,
) -> None:
    """Load, cancellations and malformed requests for minutes: failures, leaks, drift; exit code 1 on any."""
    from quantserve.benchmarks.measure.bench import ScenarioOptions
    from quantserve.benchmarks.report.outcome import judged
    from quantserve.benchmarks.scenarios import soak as scenario

    how = scenario.SoakOptions(minutes, users or scenario.SoakOptions.users, profile=profile)
    judged(scenario.measure(target, ScenarioOptions(out, name, seed, 1), how))


@spread
def retrieval(
    model: Annotated[Path, typer.Option(help="directory of the embedding model")] = o.EMBEDDING_MODEL,
    sizes: Annotated[str | None, typer.Option(help="corpus sizes, as 1000,1000000")] = None,
    part: Annotated[list[str] | None, typer.Option(help="only embed, or only search")] = None,
    *,
    recorded: o.RecordedQuick,
) -> None:
    """How fast retrieval embeds, by backend, and searches, with recall; exit code 1 below the targets."""
    from quantserve.benchmarks.report.outcome import judged
    from quantserve.benchmarks.scenarios.rag import retrieval as scenario

    how = recorded.choose(scenario, model=model, sizes=o.numbers(sizes), parts=tuple(part or ()))
    judged(scenario.measure(recorded.options(3), how))


def tune(
    target: o.Target,
    vllm_args: Annotated[
        list[str] | None, typer.Argument(help="after --: any vLLM flags; they win", show_default=False)
    ] = None,
    workload: o.WorkloadText = _TUNE.workload,
    load: Annotated[str, typer.Option(help="closed:32 users, poisson:2 a second …")] = _TUNE.load,
    requests: Annotated[int, typer.Option(min=10, help="requests of one measurement")] = _TUNE.requests,
    slo: Annotated[str, typer.Option(help="limits: ttft=2s,tpot=200ms; without, tokens/s count")] = _TUNE.slo,
    profile: Annotated[
        str | None, typer.Option(help="profile to begin with, by name or YAML file; by default what serves")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="search only settings whose name contains this; may be repeated")
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=1, help="begin no comparison after so long; the best so far is confirmed")
    ] = _TUNE.minutes,
    at_once: Annotated[
        int | None,
        typer.Option(min=1, max=2, help="engines kept running; by default 2 on a CPU and 1 on a GPU"),
    ] = _TUNE.at_once,
    out: Annotated[
        Path | None,
        typer.Option(help="profile to write; by default profiles/tuned.yaml in the run directory"),
    ] = None,
    run_dir: Annotated[Path, typer.Option(help="folder of serving's hardware probe")] = o.RUN_DIR,
) -> None:
    """Measure settings against the best so far and write what wins by more than the noise as a profile."""
    from quantserve.benchmarks.tune.scenario import measure

    how = TuneOptions(workload, load, requests, slo, tuple(only or ()), minutes, at_once)
    measure(target, how, profile=profile, engine=vllm_args or (), out=out, run_dir=run_dir)
