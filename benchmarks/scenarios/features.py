"""What does each engine feature buy, and where does it hurt? On and off, each on two workloads.

quantserve benchmarks features models/SmolLM2-135M-Instruct --only prefix-caching
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quantserve.benchmarks import servers
from quantserve.benchmarks.errors import BadOption
from quantserve.benchmarks.load.arrivals import closed_loads
from quantserve.benchmarks.load.workload import parse_workload
from quantserve.benchmarks.measure.bench import ScenarioOptions, begin
from quantserve.benchmarks.measure.store import Run
from quantserve.benchmarks.measure.subjects import Subject, alternate, staying_up
from quantserve.benchmarks.report import units
from quantserve.benchmarks.report.outcome import finish
from quantserve.core.report.table import Section, Table

_NGRAM = '{"method":"ngram","num_speculative_tokens":4,"prompt_lookup_max":4,"prompt_lookup_min":2}'


@dataclasses.dataclass(frozen=True)
class Feature:
    """A switch of the engine, with a workload it should help and one it should hurt (or not help)."""

    name: str
    off: tuple[str, ...]
    on: tuple[str, ...]
    helps: str
    hurts: str
    users: int
    why: str


FEATURES = (
    Feature(
        "prefix-caching",
        ("--no-enable-prefix-caching",),
        ("--enable-prefix-caching",),
        helps="synthetic:prompt=768,output=16,shared=0.9",
        hurts="synthetic:prompt=256,output=16",
        users=8,
        why="A common prefix is computed once; prompts without one pay for hashing and find nothing.",
    ),
    Feature(
        "chunked-prefill",
        # Whole prompts: a step must hold the longest.
        ("--no-enable-chunked-prefill", "--max-num-batched-tokens", "2048", "--max-model-len", "2048"),
        ("--enable-chunked-prefill", "--max-num-batched-tokens", "256", "--max-model-len", "2048"),
        helps="synthetic:prompt=16-1024,output=48",
        hurts="synthetic:prompt=1024,output=1",
        users=8,
        why="Long prompts no longer stop running answers (ITL p99); pure prefill is cut into more steps.",
    ),
    Feature(
        "speculation",
        (),
        ("--speculative-config", _NGRAM),
        helps="synthetic:prompt=128,output=128",
        hurts="synthetic:prompt=128,output=8",
        users=4,
        why="Speculative decoding from the text so far: long greedy answers repeat, short ones do not.",
    ),
    Feature(
        "fp8-kv-cache",
        (),
        ("--kv-cache-dtype", "fp8"),
        helps="synthetic:prompt=1024,output=32",
        hurts="synthetic:prompt=32,output=64",
        users=8,
        why="Half the cache bytes: more tokens fit; converting them costs time where attention is short.",
    ),
)


@dataclasses.dataclass(frozen=True)
class FeatureOptions:
    """Which, and how much."""

    only: tuple[str, ...] = ()
    requests_per_user: int = 6
    profile: str | None = None
    """The server is started with this profile; None: the machine's own."""


FULL = FeatureOptions()
QUICK = FeatureOptions(only=("prefix-caching",), requests_per_user=2)


def measure(target: str, options: ScenarioOptions, how: FeatureOptions) -> dict[str, Any]:
    """Measure the features and write the report; return the metrics."""
    known = {feature.name: feature for feature in FEATURES}
    if unknown := set(how.only) - known.keys():
        raise BadOption(f"{', '.join(sorted(unknown))}: no such feature", mend=f"Use {', '.join(known)}")
    chosen = [known[name] for name in how.only or known]
    details = {"target": target, "features": [feature.name for feature in chosen]}
    bench = begin("features", "Engine features, on and off", options, details)
    with bench.showing():
        for feature in chosen:
            loads = closed_loads([feature.users], how.requests_per_user, 0)
            workloads = [parse_workload(feature.helps), parse_workload(feature.hurts)]
            subjects = [
                Subject(
                    f"{feature.name} {state}",
                    functools.partial(servers.ours, target, flags, profile=how.profile),
                )
                for state, flags in (("off", feature.off), ("on", feature.on))
            ]
            with staying_up(subjects) as up:
                alternate(bench, up, workloads, loads)
    return finish(bench.run, sections)


def sections(run: Run, metrics: dict[str, Any], folder: Path) -> list[Section]:
    """On against off, figure by figure."""
    del run, folder
    rows = []
    for feature in FEATURES:
        for role, workload in (("should help", feature.helps), ("should hurt", feature.hurts)):
            off = _of(metrics["points"], f"{feature.name} off", workload)
            on = _of(metrics["points"], f"{feature.name} on", workload)
            if off is None or on is None:
                continue
            rows.append(
                [
                    feature.name,
                    f"{workload} ({role})",
                    _change(off["figures"]["output_tps"], on["figures"]["output_tps"]),
                    _change(off["figures"]["ttft"]["p50"], on["figures"]["ttft"]["p50"]),
                    _change(off["figures"]["itl"]["p99"], on["figures"]["itl"]["p99"]),
                    _change(off["figures"]["e2e"]["p50"], on["figures"]["e2e"]["p50"]),
                    units.percent(on["server"]["prefix_hit_share"]),
                    units.percent(on["server"]["draft_acceptance"]),
                ]
            )
    if not rows:
        return []
    columns = [
        "feature",
        "workload",
        "output tok/s",
        "TTFT p50",
        "ITL p99",
        "E2E p50",
        "prefix hits",
        "accepted",
    ]
    text = "Change from off to on; both are up and take turns. " + " ".join(
        f"{f.name}: {f.why}" for f in FEATURES
    )
    return [Section("On against off", text, [Table("On against off", columns, rows)])]


def _of(points: Sequence[dict[str, Any]], subject: str, workload: str) -> dict[str, Any] | None:
    return next((p for p in points if p["subject"] == subject and p["workload"] == workload), None)


def _change(off: float | None, on: float | None) -> str:
    share = units.ratio(on, off)
    return units.UNKNOWN if share is None else f"{share - 1:+.0%}"
