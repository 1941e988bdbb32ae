"""How fast does retrieval embed and search, and does the search find what an exact one finds?

quantserve benchmarks retrieval      the embedding model's backends in turns; search up to a million vectors
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quantserve.benchmarks.errors import BadOption, LoadWorkerFailed, TargetMissed
from quantserve.benchmarks.measure.bench import ScenarioOptions, begin
from quantserve.benchmarks.measure.metrics import distribution
from quantserve.benchmarks.measure.store import Run
from quantserve.benchmarks.report import plots, units
from quantserve.benchmarks.report.outcome import finish
from quantserve.core.console import console
from quantserve.core.home import generated
from quantserve.core.report.table import Section, Table
from quantserve.core.stats import needed, quantile

MODEL = generated("models/multilingual-e5-small")
_TIMEOUT_S = 3600.0
PARTS = ("embed", "search")


@dataclasses.dataclass(frozen=True)
class RetrievalTargets:
    """What must be reached on two cores."""

    passages_per_s: float = 20.0
    query_ms: float = 10.0
    search_ms: float = 5.0
    recall_at_10: float = 0.95
    memory_bytes: int = 6 << 30


@dataclasses.dataclass(frozen=True)
class TargetResult:
    """One target, what was measured, and whether it is reached."""

    name: str
    target: str
    measured: str
    met: bool


@dataclasses.dataclass(frozen=True)
class RetrievalOptions:
    """What is measured."""

    model: Path = MODEL
    sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    dimension: int = 384
    searches: int = 400
    """Of each corpus size; p99 takes 368."""
    parts: tuple[str, ...] = PARTS


FULL = RetrievalOptions()
QUICK = RetrievalOptions(sizes=(10_000, 200_000), searches=100)  # p50 and p95, no p99
TARGETS = RetrievalTargets()


def measure(options: ScenarioOptions, how: RetrievalOptions) -> dict[str, Any]:
    """Run both parts in processes of their own and write the report; return the metrics.

    Raises:
        TargetMissed: a figure misses its target; everything is written before.
    """
    if unknown := set(how.parts) - set(PARTS):
        raise BadOption(f"{', '.join(sorted(unknown))}: no such part", mend=f"Use {' or '.join(PARTS)}")
    details = {"model": how.model.name, "sizes": how.sizes, "dimension": how.dimension}
    bench = begin("retrieval", "How fast retrieval embeds and searches", options, details)
    found: dict[str, Any] = {}
    if "embed" in how.parts:
        console.print(f"embedding by every backend, {options.repeats} times in turns", style="dim")
        with bench.watching("embedding"):
            found["embedding"] = _run("embedding", how.model, options.repeats)
    if "search" in how.parts:
        found["search"] = []
        for size in how.sizes:
            console.print(f"search in {size:,} vectors", style="dim")
            with bench.watching(f"{size:,} vectors"):
                found["search"].append(_run("corpus", size, how.dimension, how.searches, bench.options.seed))
    bench.run.put_extra(found)
    metrics = finish(bench.run, sections, _brief(found))
    for one in target_results(found):
        if not one.met:
            raise TargetMissed(
                f"{one.name}: {one.measured}, {one.target} is the target", mend=f"See {bench.run.path}"
            )
    return metrics


def _run(part: str, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", f"{__package__}.{part}", *map(str, arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise LoadWorkerFailed(f"{part} {arguments} has not ended within {_TIMEOUT_S:.0f} s") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise LoadWorkerFailed(f"{part} {arguments} ended with {done.returncode}: {last}")
    value: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return value


def embedding_table(found: dict[str, Any]) -> Table:
    """One row a backend; the one that is used is marked."""
    rows = [
        [
            f"{name} (used)" if name == found["chosen"] else name,
            f"{one['passages_per_s']:.1f}",
            f"{one['passages_per_core_s']:.1f}",
            _plain(one["query_ms_p50"], 1),
            f"{one['cosine_min']:.4f}",
        ]
        for name, one in found["backends"].items()
    ]
    columns = ["backend", "passages/s", "a second of one core", "query p50 ms", "least cosine to fp32"]
    note = (
        f"passages of {found['tokens']:.0f} tokens and their prefix; what a second of one core does is "
        "counted in processor time, so that other programs on the machine do not hide it"
    )
    return Table("Embedding", columns, rows, note)


def search_table(found: Sequence[dict[str, Any]]) -> Table:
    """One row a corpus size."""
    rows = []
    for one in found:
        times = distribution([one["seconds"]])
        rows.append(
            [
                f"{one['vectors']:,}",
                one["kind"].removeprefix("Index"),
                *(units.ms(times[name]) for name in ("p50", "p95", "p99")),
                f"{one['recall_at_10']:.3f}",
                f"{one['build_s']:.1f}",
                units.mebibytes(one["peak_bytes"]),
            ]
        )
    columns = ["vectors", "index", "p50 ms", "p95 ms", "p99 ms", "recall@10", "build s", "peak MiB"]
    note = f"– is a percentile that too few searches carry: p95 takes {needed(0.95)}, p99 {needed(0.99)}"
    return Table("Search for ten of made, clustered vectors, one query at a time", columns, rows, note)


def target_results(found: dict[str, Any]) -> list[TargetResult]:
    """Compare what was measured with its targets; the search's are of the largest corpus. Pure."""
    out: list[TargetResult] = []
    if "embedding" in found:
        used = found["embedding"]["backends"][found["embedding"]["chosen"]]
        rate, query = used["passages_per_s"], used["query_ms_p50"]
        least, most = TARGETS.passages_per_s, TARGETS.query_ms
        out += [
            TargetResult("passages_per_s", f"at least {least:.0f} passages/s", f"{rate:.1f}", rate >= least),
            TargetResult(
                "query_ms", f"a query in {most:.0f} ms", _plain(query, 1), query is not None and query <= most
            ),
        ]
    if found.get("search"):
        largest = found["search"][-1]
        name, recall, peak = f"{largest['vectors']:,} vectors", largest["recall_at_10"], largest["peak_bytes"]
        p50, limit = _median_ms(largest["seconds"]), units.mebibytes(TARGETS.memory_bytes)
        out += [
            TargetResult(
                "search_ms",
                f"{name}: p50 {TARGETS.search_ms:.0f} ms",
                _plain(p50, 2),
                p50 is not None and p50 <= TARGETS.search_ms,
            ),
            TargetResult(
                "recall_at_10",
                f"{name}: recall@10 {TARGETS.recall_at_10}",
                f"{recall:.3f}",
                recall >= TARGETS.recall_at_10,
            ),
            TargetResult(
                "memory_bytes",
                f"{name}: below {limit} MiB",
                units.mebibytes(peak),
                peak <= TARGETS.memory_bytes,
            ),
        ]
    return out


def _median_ms(seconds: Sequence[float]) -> float | None:
    middle = quantile(seconds, 0.5)
    return None if middle is None else 1000 * middle


def _plain(value: float | None, digits: int) -> str:
    return units.UNKNOWN if value is None else f"{value:.{digits}f}"


def targets_met(found: dict[str, Any]) -> dict[str, bool]:
    """Say for each target whether the figures reach it."""
    return {one.name: one.met for one in target_results(found)}


def target_rows(found: dict[str, Any]) -> list[list[str]]:
    """Return (target, measured, yes or no)."""
    return [[one.target, one.measured, "yes" if one.met else "NO"] for one in target_results(found)]


def sections(run: Run, metrics: dict[str, Any], folder: Path) -> list[Section]:
    """Embedding by backend, search by corpus size, and the targets."""
    del metrics
    found = run.extra()
    out: list[Section] = []
    if "embedding" in found:
        rates = {name: one["passages_per_s"] for name, one in found["embedding"]["backends"].items()}
        plots.bars("Embedding", "passages of 256 tokens a second", rates, folder / "embedding.png")
        pictures = [("embedding.png", "Each backend's median over the repeats; more is better.")]
        out.append(Section("Embedding", tables=[embedding_table(found["embedding"])], pictures=pictures))
    if found.get("search"):
        times = {f"{one['vectors']:,}": _median_ms(one["seconds"]) for one in found["search"]}
        plots.bars("Search", "milliseconds at the median", times, folder / "search.png")
        pictures = [("search.png", "One search, by the number of vectors; less is better.")]
        out.append(Section("Search", tables=[search_table(found["search"])], pictures=pictures))
    targets = Table("Targets", ["target", "measured", "met"], target_rows(found))
    return [*out, Section("Targets", tables=[targets])]


def _brief(found: dict[str, Any]) -> dict[str, Any]:
    """The same for the line of JSON, with a median in place of every search."""
    search = [
        {**{k: v for k, v in one.items() if k != "seconds"}, "p50_s": quantile(one["seconds"], 0.5)}
        for one in found.get("search", [])
    ]
    return {**found, "search": search, "met": targets_met(found)}
