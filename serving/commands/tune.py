"""`serving tune`: find the settings that serve a workload best here, by measuring, and write a profile."""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from quantserve.core.console import console, emit_json
from quantserve.core.errors import UsageError
from quantserve.core.files import exclusive_lock
from quantserve.serving.commands import parameters as p
from quantserve.serving.config import RunDirectory, ServeOptions
from quantserve.serving.hardware import load_or_probe
from quantserve.serving.prepare import prepare, require_engine
from quantserve.serving.profiles import load_profile
from quantserve.serving.tune import measure
from quantserve.serving.tune.decide import Rule
from quantserve.serving.tune.engines import Engines, serve_argv
from quantserve.serving.tune.journal import Journal
from quantserve.serving.tune.search import search
from quantserve.serving.tune.space import dimensions, with_changes
from quantserve.serving.tune.tuner import Instruments, Tuner
from quantserve.serving.tune.write import spell, write_profile

_WORK = measure.Work()


def tune(
    target: p.TargetArgument,
    vllm_args: p.VllmArgument = None,
    workload: Annotated[str, typer.Option(help="As quantserve benchmarks takes it.")] = _WORK.workload,
    load: Annotated[str, typer.Option(help="closed:32 users, poisson:2 a second …")] = _WORK.load,
    requests: Annotated[int, typer.Option(min=10, help="Requests of one measurement.")] = _WORK.requests,
    slo: Annotated[
        str, typer.Option(help="Limits: ttft=2s,tpot=200ms. Without, tokens/s count.")
    ] = _WORK.slo,
    profile: p.ProfileOption = p.SERVE.profile,
    only: Annotated[
        list[str] | None, typer.Option(help="Search only settings whose name contains this; repeatable.")
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=1, help="Begin no comparison after so long; the best so far is confirmed.")
    ] = 60.0,
    at_once: Annotated[
        int | None,
        typer.Option(min=1, max=2, help="Engines kept running; by default 2 on a CPU and 1 on a GPU."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Profile to write; by default profiles/tuned.yaml in the run directory."),
    ] = None,
    run_dir: p.RunDirOption = p.RUN.path,
) -> None:
    """Measure candidates against the best so far and write what wins by more than the noise as a profile."""
    run = RunDirectory(run_dir)
    path = out or run.path / "profiles" / "tuned.yaml"
    if path.suffix not in (".yaml", ".yml"):
        raise UsageError(f"{path} is no YAML file", mend="Let --out end in .yaml")
    work = replace(_WORK, workload=workload, load=load, requests=requests, slo=slo)
    measure.check(work)
    hardware = load_or_probe(run.hardware)
    options = ServeOptions(port=0, profile=profile, private=True, vllm_args=tuple(vllm_args or ()))
    resolved, plan = prepare(target, options, run)  # refuse what cannot work before anything is started
    if plan.task != "generate":
        raise UsageError(
            f"tuning counts generated tokens, and {plan.model} is served to {plan.task}",
            mend=f"Set max_sequences and max_batched_tokens by hand in a copy of the profile {plan.profile}",
        )
    name = plan.profile  # by default the one that serves this model on this machine
    start = load_profile(name)
    wanted = [d for d in dimensions(start.device, hardware.cpu) if _chosen(d.key, only)]
    if not wanted:
        raise UsageError(f"no setting is named like {', '.join(only or [])}", mend="Leave out --only")
    require_engine()
    circumstances: dict[str, Any] = {
        "model": f"{plan.model} {resolved.version or ''}".strip(),
        "machine": f"{hardware.cpu.model}, {hardware.cpu.cores} cores, {len(hardware.gpus)} GPUs",
        "profile": name,
        "workload": work.workload,
        "load": work.load,
        "requests": work.requests,
        "slo": work.slo or "none",
        "score": measure.unit(work),
    }
    _end_by_exception()
    over_at = time.monotonic() + minutes * 60
    with exclusive_lock(path.with_name(f".{path.name}.lock"), f"tuning {path.name}"):
        journal = Journal(
            path.with_suffix(".journal.jsonl"), {**circumstances, "machine_id": hardware.identity}
        )
        argv = serve_argv(resolved.directory, run.path, options.vllm_args)
        capacity = at_once or (1 if start.device == "gpu" else 2)
        with Engines(argv, capacity) as engines:
            instruments = Instruments(
                engines.get,
                engines.keep,
                lambda engine, seed: measure.score(measure.figures(engine, work, seed), work),
            )
            tuner = Tuner(start, instruments, journal, Rule())
            console.print(f"tuning {plan.model} from profile {name} for {work.workload} under {work.load}")
            found = search(wanted, start, tuner.compare, tuner.confirm, lambda: time.monotonic() > over_at)
        tuned = with_changes(start, found.changes)
        tuned = tuned.model_copy(update={"description": f"{start.description}; tuned for {work.workload}"})
        evidence = write_profile(path, tuned, found, circumstances)
        journal.remove()
    console.print(
        f"{spell(found.changes)}: {path} (quantserve serving up {target} --profile {path})", markup=False
    )
    emit_json(
        {
            "profile": str(path),
            "evidence": str(evidence),
            "changes": found.changes,
            "gain": found.confirmed.gain.ratio if found.confirmed is not None and found.changes else 1.0,
            "tried": len(found.tried),
            "complete": found.complete,
        }
    )


def _chosen(key: str, only: list[str] | None) -> bool:
    return not only or any(part.replace("-", "_") in key.replace("-", "_") for part in only)


def _end_by_exception() -> None:
    """SIGTERM ends as Ctrl-C does: through the blocks that end the engines."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)
