"""How fast does retrieval embed and search, and does the search find what an exact one finds?

python -m benchmarks retrieval      the embedding model's backends in turns; search up to a million vectors
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import environment
from benchmarks.errors import WorkerFailed
from benchmarks.metrics.compute import distribution
from benchmarks.report import show
from benchmarks.report.table import Table
from core.console import console, emit_json
from core.files import write_json, write_text

_TIMEOUT_S = 3600.0


@dataclasses.dataclass(frozen=True)
class Targets:
    """What must be reached on two cores."""

    passages_per_s: float = 20.0
    query_ms: float = 10.0
    search_ms: float = 5.0
    recall_at_10: float = 0.95
    memory_bytes: int = 6 << 30


@dataclasses.dataclass(frozen=True)
class RetrievalOptions:
    """What is measured."""

    model: Path = Path("models/multilingual-e5-small")
    repeats: int = 3
    sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    dimension: int = 384
    searches: int = 200
    seed: int = 0
    parts: tuple[str, ...] = ("embed", "search")


QUICK = RetrievalOptions(repeats=1, sizes=(10_000, 200_000), searches=100)
TARGETS = Targets()


def measure(how: RetrievalOptions, out: Path) -> dict[str, Any]:
    """Run both parts in programs of their own, show tables, write them, end with one line of JSON."""
    found: dict[str, Any] = {}
    tables: list[Table] = []
    if "embed" in how.parts:
        console.print(f"embedding by every backend, {how.repeats} times in turns", style="dim")
        found["embedding"] = _run("embedding", how.model, how.repeats)
        tables.append(embedding_table(found["embedding"]))
    if "search" in how.parts:
        found["search"] = []
        for size in how.sizes:
            console.print(f"search in {size:,} vectors", style="dim")
            found["search"].append(_run("corpus", size, how.dimension, how.searches, how.seed))
        tables.append(search_table(found["search"]))
    found["met"] = targets_met(found)
    tables.append(
        Table(
            "Targets",
            ["target", "measured", "met"],
            [[name, value, yes] for name, value, yes in target_rows(found)],
        )
    )
    folder = out / f"{datetime.now().astimezone():%Y%m%d-%H%M%S}-retrieval"
    write_json(folder / "retrieval.json", {"environment": environment.collect(), **found})
    write_text(folder / "summary.md", "\n".join(table.markdown() for table in tables))
    for table in tables:
        console.print(table.rich())
    emit_json({"run": str(folder), **_brief(found)})
    return found


def _run(program: str, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", f"benchmarks.programs.{program}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise WorkerFailed(f"{program} {arguments} ended with {done.returncode}: {said}")
    value: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return value


def embedding_table(found: dict[str, Any]) -> Table:
    """One row a backend; the one that is used is marked."""
    rows = [
        [
            f"{name} (used)" if name == found["chosen"] else name,
            f"{one['passages_per_s']:.1f}",
            f"{one['passages_per_core_s']:.1f}",
            f"{one['query_ms_p50']:.1f}",
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
                *(show.ms(times[name]) for name in ("p50", "p95", "p99")),
                f"{one['recall_at_10']:.3f}",
                f"{one['build_s']:.1f}",
                show.mebibytes(one["peak_bytes"]),
            ]
        )
    columns = ["vectors", "index", "p50 ms", "p95 ms", "p99 ms", "recall@10", "build s", "peak MiB"]
    return Table("Search for ten of made, clustered vectors, one query at a time", columns, rows)


def targets_met(found: dict[str, Any]) -> dict[str, bool]:
    """Say for each target whether the figures reach it; the search's are of the largest corpus."""
    met: dict[str, bool] = {}
    if "embedding" in found:
        used = found["embedding"]["backends"][found["embedding"]["chosen"]]
        met["passages_per_s"] = used["passages_per_s"] >= TARGETS.passages_per_s
        met["query_ms"] = used["query_ms_p50"] <= TARGETS.query_ms
    if found.get("search"):
        largest = found["search"][-1]
        met["search_ms"] = 1000 * statistics.median(largest["seconds"]) <= TARGETS.search_ms
        met["recall_at_10"] = largest["recall_at_10"] >= TARGETS.recall_at_10
        met["memory_bytes"] = largest["peak_bytes"] <= TARGETS.memory_bytes
    return met


def target_rows(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (target, measured, yes or no)."""
    rows: list[tuple[str, str, str]] = []
    met = targets_met(found)

    def add(name: str, target: str, measured: str) -> None:
        rows.append((target, measured, "yes" if met[name] else "NO"))

    if "embedding" in found:
        used = found["embedding"]["backends"][found["embedding"]["chosen"]]
        add(
            "passages_per_s",
            f"at least {TARGETS.passages_per_s:.0f} passages/s",
            f"{used['passages_per_s']:.1f}",
        )
        add("query_ms", f"a query in {TARGETS.query_ms:.0f} ms", f"{used['query_ms_p50']:.1f}")
    if found.get("search"):
        largest = found["search"][-1]
        name = f"{largest['vectors']:,} vectors"
        p50 = 1000 * statistics.median(largest["seconds"])
        add("search_ms", f"{name}: p50 {TARGETS.search_ms:.0f} ms", f"{p50:.2f}")
        add("recall_at_10", f"{name}: recall@10 {TARGETS.recall_at_10}", f"{largest['recall_at_10']:.3f}")
        limit = show.mebibytes(TARGETS.memory_bytes)
        add("memory_bytes", f"{name}: below {limit} MiB", show.mebibytes(largest["peak_bytes"]))
    return rows


def _brief(found: dict[str, Any]) -> dict[str, Any]:
    search = [
        {**{k: v for k, v in one.items() if k != "seconds"}, "p50_s": statistics.median(one["seconds"])}
        for one in found.get("search", [])
    ]
    return {**found, "search": search}
