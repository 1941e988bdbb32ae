"""Our server with its profile against vLLM's defaults: the same model, dtype and cache, in turns in one run.

    quantserve benchmarks serving models/SmolLM2-135M-Instruct

Both servers run all the while and are loaded in turns, so the two sides of a pair are seconds apart. Plain
vLLM gets the model and what makes the two equal: the number format and the size of the KV cache (left to
itself it asks for nine tenths of the machine's memory and does not start where that is not free). It gets
no preloads, no thread binding and no package that vLLM does not depend on (zentorch); where it dies
without an instruction-set cap, it gets ours.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from quantserve.benchmarks import servers
from quantserve.benchmarks.errors import ServerUnusable, TargetMissed
from quantserve.benchmarks.load.arrivals import closed_loads
from quantserve.benchmarks.load.workload import parse_workload
from quantserve.benchmarks.measure.analysis import analyse
from quantserve.benchmarks.measure.bench import ScenarioOptions, begin, require_directory
from quantserve.benchmarks.measure.store import Run
from quantserve.benchmarks.measure.subjects import Subject, alternate, staying_up
from quantserve.benchmarks.peers import commands
from quantserve.benchmarks.report import plots, units
from quantserve.benchmarks.report.outcome import finish, points_of
from quantserve.core.report.table import Section, Table
from quantserve.core.stats import paired_ratio

OURS = "quantserve"
PLAIN = "vLLM, defaults"
CAPPED = "vLLM, defaults + instruction-set cap"
_CAP = "ONEDNN_MAX_CPU_ISA"


@dataclasses.dataclass(frozen=True)
class ServingOptions:
    """What is asked, how much, and what must come out."""

    workload: str = "synthetic:prompt=16-128,output=32-96"
    users: tuple[int, ...] = (1, 32)
    requests_per_user: int = 3
    least_requests: int = 10
    profile: str | None = None
    """Ours is started with this profile; None: the machine's own."""
    heavy_ratio: float = 1.6
    """Output tokens per second, ours ÷ plain, at the highest concurrency."""
    light_ratio: float = 1.0
    """The same at the lowest; missed only when the interval lies below it."""


FULL = ServingOptions()
QUICK = ServingOptions(workload="synthetic:prompt=16-64,output=32-64", requests_per_user=2, least_requests=3)


@dataclasses.dataclass(frozen=True)
class DefaultsRatio:
    """Ours against plain vLLM at one concurrency."""

    users: int
    ours: float
    plain: float
    """Medians over the repeats, output tokens per second."""
    ratio: float
    interval: tuple[float, float] | None
    target: float
    met: bool


def measure(target: str, options: ScenarioOptions, how: ServingOptions) -> dict[str, Any]:
    """Measure both and write the report; return the metrics.

    Raises:
        TargetMissed: a ratio is below its target; everything is written before.
    """
    require_directory(target)
    details = {
        "workload": how.workload,
        "target": target,
        "targets": {"heavy": how.heavy_ratio, "light": how.light_ratio},
    }
    bench = begin("serving", "Our server against vLLM's defaults", options, details)
    loads = closed_loads(how.users, how.requests_per_user, how.least_requests)
    with bench.showing(), staying_up(_subjects(target, how.profile)) as up:
        alternate(bench, up, [parse_workload(how.workload)], loads)
    found = outcomes(analyse(bench.run)["points"], how.heavy_ratio, how.light_ratio)
    metrics = finish(bench.run, sections, {"against_defaults": [dataclasses.asdict(one) for one in found]})
    judge(found)
    return metrics


def _subjects(target: str, profile: str | None) -> list[Subject]:
    """Ours first: the plain ones take what must be equal from its command line."""
    found: dict[str, Any] = {}

    @contextlib.contextmanager
    def ours() -> Iterator[servers.Server]:
        with servers.ours(target, profile=profile) as server:
            argv = server.info.get("argv") or []
            found["equal"] = commands.equal_flags(argv)
            found["cap"] = (server.info.get("env") or {}).get(_CAP)
            found["model"] = server.model
            yield server

    @contextlib.contextmanager
    def plain(capped: bool) -> Iterator[servers.Server]:
        if not found:
            raise ServerUnusable("ours did not start, so there is nothing to compare with")
        if capped and not found["cap"]:
            raise ServerUnusable("this machine needs no instruction-set cap")
        port = servers.free_port()
        argv = commands.vllm_defaults(target, found["model"], port, found["equal"])
        env = {**commands.VLLM_DEFAULT_ENV, **({_CAP: found["cap"]} if capped else {})}
        with servers.command(argv, env, port, found["model"]) as server:
            yield server

    return [
        Subject(OURS, ours),
        Subject(PLAIN, functools.partial(plain, capped=False)),
        Subject(CAPPED, functools.partial(plain, capped=True), instead_of=PLAIN),
    ]


def outcomes(points: Sequence[dict[str, Any]], heavy: float, light: float) -> list[DefaultsRatio]:
    """Judge every concurrency that both were measured at. Pure."""
    out = []
    users = sorted({p["users"] for p in points if p["users"] is not None})
    other = next((p["subject"] for p in points if p["subject"] in (PLAIN, CAPPED)), PLAIN)
    for count in users:
        both = [
            p["figures"]["output_tps_by_repeat"]
            for name in (OURS, other)
            for p in points_of(points, name, count)
            if p["figures"]["output_tps_by_repeat"]
        ]
        if len(both) < 2:
            continue
        pairs = list(zip(*both, strict=False))
        ratio, interval = paired_ratio(pairs)
        is_heavy = len(users) > 1 and count == users[-1]
        goal = heavy if is_heavy else light
        met = ratio >= goal or (not is_heavy and interval is not None and interval[1] >= goal)
        medians = [statistics.median(values) for values in zip(*pairs, strict=True)]
        out.append(DefaultsRatio(count, medians[0], medians[1], ratio, interval, goal, met))
    return out


def judge(found: Sequence[DefaultsRatio]) -> None:
    """Raise TargetMissed for the first concurrency that misses its target."""
    if not found:
        raise TargetMissed("one of the servers could not be measured", mend="Read the report")
    for one in found:
        if not one.met:
            raise TargetMissed(
                f"{one.ratio:.3f} times vLLM's defaults at {one.users} concurrent, not {one.target:g}",
                mend="quantserve benchmarks tune finds better settings, if this machine has any",
            )


def sections(run: Run, metrics: dict[str, Any], folder: Path) -> list[Section]:
    """The ratios."""
    targets = run.config().get("targets") or {}
    found = outcomes(metrics["points"], targets.get("heavy", 0.0), targets.get("light", 0.0))
    if not found:
        return []
    rows = [
        [
            str(one.users),
            units.number(one.ours),
            units.number(one.plain),
            units.with_interval(one.ratio, one.interval),
            f"≥ {one.target:g}",
            "yes" if one.met else "NO",
        ]
        for one in found
    ]
    plots.bars(
        "Our output tokens per second ÷ vLLM's defaults",
        "ratio",
        {f"{one.users} concurrent": one.ratio for one in found},
        folder / "against-defaults.png",
    )
    columns = ["concurrent", f"{OURS}, tok/s", f"{PLAIN}, tok/s", "ratio of medians [95 %]", "target", "met"]
    text = (
        "Same weights, number format and cache size, the same requests, in turns on one machine; medians "
        "over the repeats, bootstrap interval over pairs of turns."
    )
    return [
        Section(
            "Ours against vLLM's defaults",
            text,
            [Table("Against defaults", columns, rows)],
            [("against-defaults.png", "How many times faster.")],
        )
    ]
