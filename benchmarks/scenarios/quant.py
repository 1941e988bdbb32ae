"""What does quantizing cost and give? The base against its artifacts, alternated in one session.

    quantserve benchmarks quant models/SmolLM2-135M-Instruct artifacts/SmolLM2-135M-Instruct/current

What an artifact says of itself (its manifest and the gate's report) is read as plain JSON: the artifact
directory is a seam, and benchmarks imports no package but core.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quantserve.benchmarks import servers
from quantserve.benchmarks.errors import BadOption, BadRun
from quantserve.benchmarks.load.arrivals import closed_loads
from quantserve.benchmarks.load.workload import parse_workload
from quantserve.benchmarks.measure.bench import ScenarioOptions, begin
from quantserve.benchmarks.measure.store import Run
from quantserve.benchmarks.measure.subjects import Subject, alternate
from quantserve.benchmarks.report import plots, units
from quantserve.benchmarks.report.outcome import finish, points_of, tps
from quantserve.core.checkpoints import find_weights, model_name
from quantserve.core.report.table import Section, Table
from quantserve.core.speed import SpeedPair, crossover, listed, sign


@dataclasses.dataclass(frozen=True)
class QuantOptions:
    """What is asked of each model."""

    workload: str = "synthetic:prompt=128,output=64"
    users: tuple[int, ...] = (1, 4, 16, 32)
    requests_per_user: int = 3
    least_requests: int = 24
    """Of each repeat; with three p95 has the 72 requests it takes."""
    price_per_hour: float = 1.0
    """What the machine costs; the cost per million tokens follows from it."""
    currency: str = "USD"
    profile: str | None = None
    """Each is started with this profile; None: the machine's own."""


FULL = QuantOptions()
QUICK = QuantOptions(
    workload="synthetic:prompt=128,output=32", users=(1, 8, 32), requests_per_user=1, least_requests=10
)


def measure(targets: Sequence[str], options: ScenarioOptions, how: QuantOptions) -> dict[str, Any]:
    """Measure base (first) and artifacts and write the report; return the metrics."""
    if len(targets) < 2:
        raise BadOption("nothing to compare", mend="Give the base first, then one artifact or more")
    described = dict(artifact_facts(Path(target)) for target in targets)
    if len(described) != len(targets):
        raise BadOption("two of the targets are the same version", mend="Name each only once")
    details = {
        "workload": how.workload,
        "targets": list(targets),
        "price_per_hour": how.price_per_hour,
        "currency": how.currency,
    }
    bench = begin("quant", "Base against quantized", options, details)
    bench.run.put_extra({"artifacts": described})
    subjects = [
        Subject(name, functools.partial(servers.ours, target, profile=how.profile))
        for name, target in zip(described, targets, strict=True)
    ]
    loads = closed_loads(how.users, how.requests_per_user, how.least_requests)
    with bench.showing():
        alternate(bench, subjects, [parse_workload(how.workload)], loads)
    return finish(bench.run, sections)


def artifact_facts(target: Path) -> tuple[str, dict[str, Any]]:
    """A name for a report (version, or directory name) and what is known of size and quality.

    Raises:
        BadRun: there is no checkpoint.
    """
    directory = target.resolve()
    if not (directory / "config.json").is_file():
        raise BadRun(f"{target} is no checkpoint or artifact", mend="Name a directory with a config.json")
    config = _json(directory / "config.json")
    present = any(directory.glob("*.safetensors"))
    weights = find_weights(directory, config, error=BadRun).size_bytes if present else 0
    manifest, report = _json(directory / "manifest.json"), _json(directory / "report.json")
    if not manifest:
        return model_name(directory), {"bits": 16, "weight_bytes": weights}
    return str(manifest.get("version") or model_name(directory)), {
        "bits": manifest.get("bits"),
        "method": manifest.get("method"),
        "key": manifest.get("key"),
        "weight_bytes": weights,
        "verdict": report.get("verdict"),
        **_quality(report.get("figures") or {}),
    }


def _quality(figures: dict[str, Any]) -> dict[str, float | None]:
    """The gate's estimates, without their intervals."""
    names = ("perplexity_ratio", "mean_kl", "top1_agreement")
    return {name: (figures.get(name) or {}).get("value") for name in names}


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise BadRun(f"{path} is no JSON ({error})") from error
    return value if isinstance(value, dict) else {}


def known_pairs(
    users: Sequence[int], base: Sequence[float | None], candidate: Sequence[float | None]
) -> list[SpeedPair]:
    """Pair what was measured of both."""
    measured = zip(users, base, candidate, strict=True)
    return [SpeedPair(n, before, after) for n, before, after in measured if before and after]


def faster_where(pairs: Sequence[SpeedPair]) -> str:
    """Say at which concurrency the candidate is faster than the base."""
    faster = [pair.concurrency for pair in pairs if sign(pair) > 0]
    if not pairs:
        return units.UNKNOWN
    if len(faster) in (0, len(pairs)):
        return "at every concurrency" if faster else "nowhere"
    change = crossover(pairs)
    if change is None:
        return f"at {listed(faster)}"
    return f"from about {change:.0f} on" if pairs[-1].concurrency in faster else f"up to about {change:.0f}"


def cost_per_million(price_per_hour: float, tokens_per_s: float | None) -> float | None:
    """Price of a million output tokens on a machine that does nothing else."""
    return price_per_hour / (tokens_per_s * 3600) * 1e6 if tokens_per_s else None


def sections(run: Run, metrics: dict[str, Any], folder: Path) -> list[Section]:
    """Quality beside cost and speed, and where the faster one changes."""
    points, described = metrics["points"], run.extra().get("artifacts") or {}
    config = run.config()
    users = sorted({p["users"] for p in points})
    if not users or not described:
        return []
    base, heavy = next(iter(described)), users[-1]
    rows, cross = [], []
    for name, about in described.items():
        light = next(points_of(points, name, users[0]), None)
        full = next(points_of(points, name, heavy), None)
        if light is None or full is None:
            continue
        fast = tps(points, name, heavy)
        rows.append(
            [
                name,
                str(about.get("bits") or units.UNKNOWN),
                units.mebibytes(about.get("weight_bytes")),
                units.number(about.get("perplexity_ratio")),
                units.number(about.get("mean_kl")),
                units.percent(about.get("top1_agreement")),
                str(about.get("verdict") or units.UNKNOWN),
                units.number(light["started_with"].get("ready_s")),
                units.mebibytes(full["server"]["memory_bytes_max"]),
                units.number(light["figures"]["output_tps"]),
                units.number(fast),
                units.ms(light["figures"]["ttft"]["p50"]),
                units.ms(light["figures"]["tpot"]["p50"]),
                units.number(cost_per_million(config.get("price_per_hour") or 1.0, fast)),
            ]
        )
        if name != base:
            before, after = ([tps(points, subject, n) for n in users] for subject in (base, name))
            gains = [units.times(units.ratio(b, a)) for a, b in zip(before, after, strict=True)]
            cross.append([name, *gains, faster_where(known_pairs(users, before, after))])
    columns = ["model", "bits", "weights MiB", "PPL ratio", "KL", "top-1", "gate", "ready s", "memory MiB"]
    columns += [f"tok/s at {users[0]}", f"at {heavy}", "TTFT ms", "TPOT ms"]
    columns += [f"{config.get('currency', '')} per million tokens"]
    plots.bars(
        f"Output tokens per second at {heavy} users",
        "tokens per second",
        {name: tps(points, name, heavy) for name in described},
        folder / "models.png",
    )
    text = (
        "Quality figures are the gate's, measured in the engine against the base. Speed, memory and load "
        f"time were measured here, the models taking turns. Cost assumes {config.get('price_per_hour')} "
        f"{config.get('currency')} an hour at {heavy} users."
    )
    table = Table("Quality, cost and speed", columns, rows)
    headings = ["model", *(f"{n} at once" for n in users), "faster than the base"]
    change = Table("Speed against the base", headings, cross)
    return [
        Section("What quantizing costs and gives", text, [table, change], [("models.png", "Throughput.")])
    ]
