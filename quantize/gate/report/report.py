"""What a gate run leaves: a table for people, `report.json` for programs, a page, and a model card."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from quantserve.core.console import console, styled
from quantserve.core.files import write_json, write_text
from quantserve.core.speed import crossover, sentence
from quantserve.quantize.artifact import CARD, PAGE, REPORT, Manifest, now
from quantserve.quantize.gate.facts.comparing import FactFindings
from quantserve.quantize.gate.judge.thresholds import GateCheck, Thresholds
from quantserve.quantize.gate.judge.verdict import Findings, GateVerdict
from quantserve.quantize.gate.measure.engine import KernelEvidence
from quantserve.quantize.gate.measure.pairing import EngineMeasurement
from quantserve.quantize.gate.measure.requests import Cost, EngineReplies, ModelView, totals
from quantserve.quantize.gate.report.card import card

_COLORS = {
    GateVerdict.ACCEPT: "green",
    GateVerdict.REGRESSION: "red",
    GateVerdict.ANOMALOUS: "yellow",
    GateVerdict.INFEASIBLE: "red",
}
_UNMEASURED = EngineMeasurement(
    ModelView(EngineReplies((), (), 0.0), ()),
    Cost((), None, None, None, None, KernelEvidence(None, (), ()), ()),
)
_MARKS = {True: styled(("pass", "green")), False: styled(("FAIL", "bold red")), None: styled(("info", "dim"))}
_UNKNOWN: dict[str, Any] = {
    **dict.fromkeys(("figures", "speed", "facts")),
    **{"languages": {}, "answers": [], "tool_calls": [], "tasks": []},
}


def build_report(
    *,
    verdict: GateVerdict,
    reasons: Sequence[str],
    thresholds: Thresholds,
    key: str,
    base: dict[str, Any],
    candidate: dict[str, Any],
    evaluation: dict[str, Any],
    environment: dict[str, Any],
    findings: Findings | None = None,
    checks: Sequence[GateCheck] = (),
    arrangement: str | None = None,
) -> dict[str, Any]:
    """Return the report as JSON-able values; what was not measured is None or empty."""
    return {
        "verdict": verdict.value,
        "reasons": list(reasons),
        **(_UNKNOWN if findings is None else _measured(findings)),
        "checks": [{**dataclasses.asdict(check), "fault": check.fault.name} for check in checks],
        "thresholds": dataclasses.asdict(thresholds),
        "base": base,
        "candidate": candidate,
        "evaluation": evaluation,
        "environment": {**environment, "arrangement": arrangement},
        "created": now(),
        "key": key,
    }


def _measured(findings: Findings) -> dict[str, Any]:
    return {
        "figures": dataclasses.asdict(findings.quality),
        "languages": {
            one.language: {"judged": one.judged, **dataclasses.asdict(one.quality)}
            for one in findings.languages
        },
        "speed": {
            "pairs": [{**dataclasses.asdict(pair), "ratio": pair.ratio} for pair in findings.speeds],
            "crossover": crossover(findings.speeds),
            "sentence": sentence(findings.speeds),
        },
        "answers": [
            {
                "question": pair.question,
                "base": pair.base.text,
                "base_problems": list(pair.base_problems),
                "candidate": pair.candidate.text,
                "candidate_problems": list(pair.candidate_problems),
            }
            for pair in findings.pairs
        ],
        "tool_calls": [
            {
                "question": pair.question,
                "base": pair.base.text,
                "base_parses": pair.base_parses,
                "candidate": pair.candidate.text,
                "candidate_parses": pair.candidate_parses,
            }
            for pair in findings.calls
        ],
        "facts": None if findings.facts is None else _facts(findings.facts),
        "tasks": [{**dataclasses.asdict(pair), "recovery": pair.recovery} for pair in findings.tasks],
    }


def _facts(facts: FactFindings) -> dict[str, Any]:
    """Return the short prompts: the comparisons, the lost prompts first, and every answer."""
    compared = {
        "candidate_against_base": facts.candidate_against_base(),
        "candidate_against_float32": facts.candidate_against_float32(),
        "float32_against_base": facts.float32_against_base(),
        "well_formed": facts.well_formed(),
        "well_formed_against_float32": facts.well_formed_against_float32(),
    }
    parted = {"divergence": facts.divergence, "divergence_floor": facts.floor}
    return {
        **{name: one and {**dataclasses.asdict(one), "p": one.p} for name, one in compared.items()},
        **{name: one and {**dataclasses.asdict(one), "rate": one.rate} for name, one in parted.items()},
        "no_floor": facts.no_floor or None,
        "lost": [mark.id for mark in facts.lost()],
        "answers": [dataclasses.asdict(mark) for mark in facts.marks],
    }


def measured_json(measured: EngineMeasurement | None) -> dict[str, Any]:
    """Return an engine's measurement for the report, answers and log-probabilities aside.

    Of an engine that was not started (None) the same fields say so: None or empty.
    """
    measured = measured or _UNMEASURED
    cost = measured.cost
    first = [seconds for one in cost.rounds for seconds in one.first_token_s]
    return {
        "output_tokens_per_s": {
            str(speed.concurrency): round(speed.tokens_per_s, 2) for speed in totals(cost.rounds)
        },
        "rounds": [dataclasses.asdict(one) for one in cost.rounds],
        "first_token_s": statistics.median(first) if first else None,
        "ready_s": cost.ready_s,
        "memory_bytes": cost.memory_bytes,
        "kv_cache_tokens": cost.kv_cache_tokens,
        "dtype": cost.dtype,
        "quantization": cost.evidence.quantization,
        "kernels": list(cost.evidence.kernels),
        "evidence": list(cost.evidence.lines),
        "argv": list(cost.argv),
        "measured_s": round(
            measured.view.replies.seconds
            + sum(s.seconds for one in cost.rounds for s in one.speeds)
            + sum(first),
            2,
        ),
        "tasks": None if measured.tasks is None else measured.tasks.scores,
    }


def publish_report(
    directory: Path, manifest: Manifest, report: dict[str, Any], checks: Sequence[GateCheck]
) -> None:
    """Write everything into the artifact, `report.json` last, and show it."""
    # matplotlib takes a second to import, so nobody else pays for it.
    from quantserve.quantize.gate.report.page import page

    write_text(directory / PAGE, page(manifest, report, cost_rows(report["base"], report["candidate"])))
    if CARD not in manifest.files:  # an imported checkpoint's own card stays
        write_text(directory / CARD, card(directory, manifest, report))
    write_json(directory / REPORT, report)
    print_report(directory, report, checks)


def cost_rows(base: dict[str, Any], candidate: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return what both engines cost besides speed, for the tables."""
    rows = []
    for title, field, scale, unit in (
        ("weights", "weight_bytes", 1e-6, "MB"),
        ("ready after", "ready_s", 1.0, "s"),
        ("resident memory", "memory_bytes", 1e-6, "MB"),
        ("KV-cache room", "kv_cache_tokens", 1.0, "tokens"),
        ("first token", "first_token_s", 1e3, "ms"),
    ):
        values = [source.get(field) for source in (base, candidate)]
        cells = ["unknown" if value is None else f"{value * scale:,.0f} {unit}" for value in values]
        rows.append((title, cells[0], cells[1]))
    return rows


def print_report(artifact: Path, report: dict[str, Any], checks: Sequence[GateCheck]) -> None:
    """Print the table, the evidence and the verdict on stderr."""
    verdict = GateVerdict(report["verdict"])
    if checks:
        table = Table("figure", "base", "candidate", "value (95 %)", "limit", "", box=box.SIMPLE_HEAD)
        for check in checks:
            cells = (check.name, check.base, check.candidate, check.value, check.limit)
            table.add_row(*cells, _MARKS[check.passed])
        for title, one, other in cost_rows(report["base"], report["candidate"]):
            table.add_row(title, one, other, "", "", _MARKS[None])
        console.print(table)
        console.print(f"  {report['speed']['sentence']}", soft_wrap=True)
        for line in report["candidate"].get("evidence", []):
            console.print(f"  engine log: {line}", soft_wrap=True, style="dim")
    console.print(styled((str(verdict), f"bold {_COLORS[verdict]}"), f" {artifact}"))
    for reason in report["reasons"]:
        console.print(f"  {reason}", soft_wrap=True)
    console.print(f"  page: {artifact / PAGE}", soft_wrap=True)
