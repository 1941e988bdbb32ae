"""The report of `benchmarks rag`: what each stage of an answer takes. Knows only what the run stored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quantserve.benchmarks.measure.metrics import distribution
from quantserve.benchmarks.measure.store import Run
from quantserve.benchmarks.report import plots, units
from quantserve.core.report.table import Section, Table
from quantserve.core.stats import needed

STAGE_OF = {
    "guard": "guard",
    "embed": "embed",
    "cache": "cache look-up",
    "dense": "vector search",
    "bm25": "word search",
    "fuse": "fuse",
    "passages": "read passages",
    "rerank": "rerank",
    "prompt": "prompt",
}
"""rag's names of stages, and the report's."""
STAGES = (*STAGE_OF.values(), "first token", "generation")
"""In the order an answer goes through them."""


def sections(run: Run, metrics: dict[str, Any], folder: Path) -> list[Section]:
    """Stages by concurrency, search by corpus size."""
    del metrics
    by_users: dict[int, list[dict[str, float]]] = {}
    for measured in run.measured():
        stages = [r.extra["stages"] for r in measured.records if r.ok and r.extra and "stages" in r.extra]
        by_users.setdefault(measured.cell.users or 1, []).extend(stages)
    rows: list[list[str]] = []
    medians: dict[str, dict[str, float]] = {}
    for users, answers in sorted(by_users.items()):
        whole = sum(sum(answer.values()) for answer in answers)
        medians[f"{users} at once"] = {}
        for name in STAGES:
            values = [answer[name] for answer in answers if name in answer]
            if not values:
                continue
            found = distribution([values])
            if found["p50"] is not None:
                medians[f"{users} at once"][name] = found["p50"] * 1000
            rows.append(
                [
                    f"{users} at once: {name}",
                    units.ms(found["p50"]),
                    units.ms(found["p95"]),
                    units.percent(sum(values) / whole if whole else None),
                ]
            )
    plots.stacked("Median time of each stage", "milliseconds", medians, folder / "stages.png")
    note = f"– is a percentile that too few answers carry: p50 takes {needed(0.5)}, p95 {needed(0.95)}"
    table = Table("Stages", ["stage", "p50 ms", "p95 ms", "share of all time"], rows, note)
    out = [
        Section(
            "Where the time goes",
            f"TTFT and E2E below count from the question, so they include retrieval. {_again(run)}",
            [table],
            [("stages.png", "Stages of an answer, medians stacked.")],
        )
    ]
    corpus = run.extra().get("corpus") or []
    if corpus:
        sizes = [
            [f"{row['vectors']:,}", *_search_times(row["seconds"]), units.mebibytes(row["bytes"])]
            for row in corpus
        ]
        columns = ["vectors", "p50 ms", "p95 ms", "p99 ms", "MiB"]
        text = (
            "Search for ten neighbours over made 384-dimensional vectors, one at a time: exact up to "
            "100,000, inverted lists above."
        )
        out.append(Section("Search by corpus size", text, [Table("Corpus", columns, sizes)]))
    return out


def _again(run: Run) -> str:
    """What a cache saves, and whether passages were reranked."""
    found = distribution([run.extra().get("cached_s") or []])
    reranker = run.config().get("reranker")
    order = f"Passages were reranked by {reranker}." if reranker else "No reranker was asked."
    if found["p50"] is None:
        return f"Too few questions were asked again to say what a cache saves ({found['n']}). {order}"
    return f"Asked again, an answer comes from the cache in {units.ms(found['p50'])} ms (median). {order}"


def _search_times(seconds: Sequence[float]) -> list[str]:
    found = distribution([seconds])
    return [units.ms(found["p50"]), units.ms(found["p95"]), units.ms(found["p99"])]
