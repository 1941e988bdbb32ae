"""`benchmarks tune`: find the settings that serve a workload best here, by measuring, and write a profile.

    quantserve benchmarks tune artifacts/NAME/current --slo ttft=2s,tpot=200ms

What would be served, with which profile and on which machine, `serving plan --json` says; candidates are
profile files that `serving serve` reads, and every engine is started as it is deployed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from quantserve.benchmarks import servers
from quantserve.benchmarks.errors import BadOption
from quantserve.benchmarks.load.arrivals import parse_load
from quantserve.benchmarks.load.workload import parse_workload
from quantserve.benchmarks.measure.bench import Bench, CellOptions, ScenarioOptions
from quantserve.benchmarks.measure.metrics import Slo, parse_slo, point
from quantserve.benchmarks.measure.store import Run
from quantserve.benchmarks.peers.commands import flag
from quantserve.benchmarks.tune.files import Journal, changes_line, write_profile
from quantserve.benchmarks.tune.search import SearchResult, StoppingRule, search
from quantserve.benchmarks.tune.space import Dimension, ProfileSettings, TuneOptions, dimensions
from quantserve.benchmarks.tune.tuner import Engines, Instruments, Tuner
from quantserve.core.console import console, emit_json
from quantserve.core.files import exclusive_lock

_READY_TIMEOUT_S = 900.0
_WARMUP = 4


def measure(
    target: str,
    how: TuneOptions,
    *,
    profile: str | None,
    engine: Sequence[str],
    out: Path | None,
    run_dir: Path,
) -> None:
    """Measure candidates against the best so far and write what wins by more than the noise as a profile.

    Args:
        target: checkpoint or artifact directory.
        how: what is asked, and how long is searched.
        profile: name or YAML file of the profile to begin with; None: the one that serves this model here.
        engine: vLLM's own options, for every engine.
        out: the profile to write; None: profiles/tuned.yaml in the run directory.
        run_dir: of `serving`: what it knows of the machine, and tuned profiles.

    Raises:
        BadOption: an option is wrong, or the model generates no text.
        ServerUnusable: the profile that the search begins with cannot be served.
    """
    path = out or run_dir / "profiles" / "tuned.yaml"
    if path.suffix not in (".yaml", ".yml"):
        raise BadOption(f"{path} is no YAML file", mend="Let --out end in .yaml")
    score = scoring(how)
    plan = planned(target, profile, engine, run_dir)
    if plan["task"] != "generate":
        raise BadOption(
            f"tuning counts generated tokens, and {plan['model']} is served to {plan['task']}",
            mend="Set max_sequences and max_batched_tokens by hand in a copy of the profile "
            f"{plan['profile']}",
        )
    start, machine = ProfileSettings(**plan["profile_settings"]), plan["machine"]
    wanted = chosen(dimensions(start.values["device"], machine["processors"], machine["cores"]), how.only)
    circumstances = {
        "model": f"{plan['model']} {plan['version'] or ''}".strip(),
        "machine": machine["words"],
        "profile": plan["profile"],
        "workload": how.workload,
        "load": how.load,
        "requests": how.requests,
        "slo": how.slo or "none",
        "score": "good requests/s" if how.slo else "output tok/s",
    }

    def served(profile_file: Path) -> AbstractContextManager[servers.Server]:
        directory = flag(plan["argv"], "--model") or target
        return servers.ours(
            directory, engine, str(profile_file), run_dir=run_dir, ready_timeout_s=_READY_TIMEOUT_S
        )

    over_at = time.monotonic() + how.minutes * 60
    with exclusive_lock(path.with_name(f".{path.name}.lock"), f"tuning {path.name}"):
        journal = Journal(
            path.with_suffix(".journal.jsonl"), {**circumstances, "machine_id": machine["identity"]}
        )
        capacity = how.at_once or (1 if start.values["device"] == "gpu" else 2)
        with Engines(served, start, capacity) as engines:
            tuner = Tuner(Instruments(engines.get, engines.needed_soon, score), journal, StoppingRule())
            console.print(
                f"tuning {plan['model']} from profile {plan['profile']} for {how.workload} under {how.load}"
            )
            result = search(wanted, start, tuner.compare, tuner.confirm, lambda: time.monotonic() > over_at)
        tuned = start.changed(result.changes)
        tuned["description"] = f"{start.values['description']}; tuned for {how.workload}"
        evidence = write_profile(path, tuned, result, circumstances)
        journal.remove()
    _tell(target, path, evidence, result)


def planned(target: str, profile: str | None, engine: Sequence[str], run_dir: Path) -> dict[str, Any]:
    """What would be served; refuses what cannot work before anything is started."""
    words = ["plan", target, "--json", "--private", "--port", "0", "--run-dir", str(run_dir)]
    words += ["--profile", profile] if profile else []
    return servers.ask_serving(*words, *(["--", *engine] if engine else []))


def chosen(found: Sequence[Dimension], only: Sequence[str]) -> list[Dimension]:
    """The settings whose name contains one of some words; all where there are none.

    Raises:
        BadOption: no setting is named like that.
    """
    parts = [part.replace("-", "_") for part in only] or [""]
    wanted = [one for one in found if any(part in one.key.replace("-", "_") for part in parts)]
    if not wanted:
        raise BadOption(f"no setting is named like {', '.join(only)}", mend="Leave out --only")
    return wanted


def scoring(how: TuneOptions) -> Callable[[servers.Server, int], float]:
    """Return what loads one engine once, with the prompts of a seed, and says what came of it."""
    workload, load, slo = parse_workload(how.workload), parse_load(how.load), parse_slo(how.slo)

    def score(server: servers.Server, seed: int) -> float:
        with tempfile.TemporaryDirectory(prefix="quantserve-tune-") as folder:
            bench = Bench(Run.create(Path(folder), "tune", {}, {}), ScenarioOptions(seed=seed, slo=slo))
            cell = CellOptions(how.requests, seed=bench.seed(0, 0), warmup=_WARMUP)
            records = bench.cell(server, "tune", workload, load, 0, cell).records
        return score_of(point(records, slo), slo)

    return score


def score_of(figures: dict[str, Any], slo: Slo) -> float:
    """What counts: good requests a second where there are limits, else output tokens a second.

    A run with failed requests scores nothing: faster by failing is not faster.
    """
    if figures["failed"]:
        return 0.0
    return float((figures["output_tps"] if slo.empty else figures["goodput_ps"]) or 0.0)


def _tell(target: str, path: Path, evidence: Path, result: SearchResult) -> None:
    console.print(
        f"{changes_line(result.changes)}: {path} (quantserve serving up {target} --profile {path})",
        markup=False,
    )
    emit_json(
        {
            "profile": str(path),
            "evidence": str(evidence),
            "changes": result.changes,
            "gain": result.confirmed.gain.ratio if result.confirmed is not None and result.changes else 1.0,
            "tried": len(result.tried),
            "complete": result.complete,
        }
    )
