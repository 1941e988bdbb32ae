"""The report: a table for people, `report.json` in the artifact for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from core.console import console
from core.files import write_json
from quantize.artifact import REPORT, now
from quantize.gate.answers import Pair
from quantize.gate.figures import Quality
from quantize.gate.measure import Facts
from quantize.gate.thresholds import Thresholds
from quantize.gate.verdict import Check, Verdict

_COLORS = {
    Verdict.ACCEPT: "green",
    Verdict.REGRESSION: "red",
    Verdict.ANOMALOUS: "yellow",
    Verdict.INFEASIBLE: "red",
}
_MARKS = {True: "[green]pass[/]", False: "[bold red]FAIL[/]", None: "[dim]info[/]"}


def build(
    *,
    verdict: Verdict,
    reasons: Sequence[str],
    thresholds: Thresholds,
    key: str,
    base: dict[str, Any],
    candidate: dict[str, Any],
    evaluation: dict[str, Any],
    environment: dict[str, Any],
    quality: Quality | None = None,
    checks: Sequence[Check] = (),
    pairs: Sequence[Pair] = (),
) -> dict[str, Any]:
    """Return the report as JSON-able values; what was not measured is None or empty."""
    return {
        "verdict": verdict.value,
        "reasons": list(reasons),
        "figures": None if quality is None else dataclasses.asdict(quality),
        "checks": [{**dataclasses.asdict(check), "fault": check.fault.name} for check in checks],
        "thresholds": dataclasses.asdict(thresholds),
        "base": base,
        "candidate": candidate,
        "evaluation": evaluation,
        "answers": [
            {
                "question": pair.question,
                "base": pair.base.text,
                "base_problems": list(pair.base_problems),
                "candidate": pair.candidate.text,
                "candidate_problems": list(pair.candidate_problems),
            }
            for pair in pairs
        ],
        "environment": environment,
        "created": now(),
        "key": key,
    }


def facts_json(facts: Facts) -> dict[str, Any]:
    """Return an engine's facts for the report, the answers aside."""
    return {
        "output_tokens_per_s": {
            str(speed.concurrency): round(speed.tokens_per_s, 2) for speed in facts.speeds
        },
        "first_token_s": facts.first_token_s,
        "ready_s": facts.ready_s,
        "memory_bytes": facts.memory_bytes,
        "kv_cache_tokens": facts.kv_cache_tokens,
        "dtype": facts.dtype,
        "quantization": facts.evidence.quantization,
        "kernels": list(facts.evidence.kernels),
        "evidence": list(facts.evidence.lines),
        "argv": list(facts.argv),
        "measured_s": round(facts.seconds, 2),
    }


def write(artifact: Path, report: dict[str, Any]) -> Path:
    """Write `report.json` atomically; the last report stays until then."""
    write_json(artifact / REPORT, report)
    return artifact / REPORT


def cost_rows(base: dict[str, Any], candidate: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return what both engines cost besides speed, for the table."""
    rows = []
    for title, field, scale, unit in (
        ("weights", "weight_bytes", 1e-6, "MB"),
        ("ready after", "ready_s", 1.0, "s"),
        ("memory, KV cache included", "memory_bytes", 1e-6, "MB"),
        ("KV cache", "kv_cache_tokens", 1.0, "tokens"),
        ("first token", "first_token_s", 1e3, "ms"),
    ):
        values = [source.get(field) for source in (base, candidate)]
        cells = ["unknown" if value is None else f"{value * scale:,.0f} {unit}" for value in values]
        rows.append((title, cells[0], cells[1]))
    return rows


def show(artifact: Path, report: dict[str, Any], checks: Sequence[Check]) -> None:
    """Print the table, the evidence and the verdict on stderr."""
    verdict = Verdict(report["verdict"])
    if checks:
        table = Table("figure", "base", "candidate", "value (95 %)", "limit", "", box=box.SIMPLE_HEAD)
        for check in checks:
            cells = (check.name, check.base, check.candidate, check.value, check.limit)
            table.add_row(*cells, _MARKS[check.passed])
        for title, one, other in cost_rows(report["base"], report["candidate"]):
            table.add_row(title, one, other, "", "", _MARKS[None])
        console.print(table)
        for line in report["candidate"].get("evidence", []):
            console.print(f"  engine log: {line}", markup=False, soft_wrap=True, style="dim")
    console.print(f"[bold {_COLORS[verdict]}]{verdict}[/] {artifact}")
    for reason in report["reasons"]:
        console.print(f"  {reason}", markup=False, soft_wrap=True)
