"""Measure base and candidate, one after the other, and judge."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from core.console import console, progress
from quantize.gate import cache, keys, report
from quantize.gate.answers import compare
from quantize.gate.client import Client
from quantize.gate.config import ROOT, GateConfig
from quantize.gate.engine import running
from quantize.gate.errors import BadReply, EngineFailed, GateError
from quantize.gate.figures import compare_passages
from quantize.gate.measure import Measured, Prompt, Tick, measure, requests_of
from quantize.gate.run import Case
from quantize.gate.verdict import Findings, SpeedPair, Verdict, judge, reasons


def judge_case(
    case: Case, config: GateConfig, overlap_checked: bool, *, force: bool
) -> tuple[Verdict, dict[str, Any]]:
    """Measure, judge, write the report, show it.

    Raises:
        GateError: the base could not be measured, so nothing can be said about the candidate.
    """
    base, cached = _base(case, config, force=force)
    common: dict[str, Any] = {
        "thresholds": case.thresholds,
        "key": case.key,
        "base": {
            "directory": str(case.base.directory),
            "sha256": case.base_sha256,
            "parameters": case.base.elements,
            "weight_bytes": case.base.weight_bytes,
            "cached": cached,
            **report.facts_json(base.facts),
        },
        "evaluation": {
            "source": case.evaluation.source,
            "sha256": case.evaluation.sha256,
            "passages": len(case.evaluation.passages),
            "calibration_overlap_checked": overlap_checked,
        },
        "environment": {"engine": case.engine_version, **keys.machine()},
    }
    candidate_facts: dict[str, Any] = {
        "directory": str(case.directory),
        "version": case.manifest.version,
        "method": case.manifest.method,
        "bits": case.manifest.bits,
        "weight_bytes": case.manifest.weight_bytes,
    }
    prompts = [passage.ids.tolist() for passage in base.passages]
    try:
        candidate = _measure(config, case.directory, "candidate", prompts)
    except (EngineFailed, BadReply) as error:
        text = report.build(
            verdict=Verdict.INFEASIBLE, reasons=[str(error)], candidate=candidate_facts, **common
        )
        report.write(case.directory, text)
        report.show(case.directory, text, ())
        return Verdict.INFEASIBLE, text
    findings = findings_of(case, config, base, candidate)
    verdict, checks = judge(findings, case.thresholds)
    text = report.build(
        verdict=verdict,
        reasons=reasons(checks),
        candidate={**candidate_facts, **report.facts_json(candidate.facts)},
        quality=findings.quality,
        checks=checks,
        pairs=findings.pairs,
        **common,
    )
    report.write(case.directory, text)
    report.show(case.directory, text, checks)
    return verdict, text


def findings_of(case: Case, config: GateConfig, base: Measured, candidate: Measured) -> Findings:
    """Put both measurements side by side."""
    return Findings(
        quality=compare_passages(base.passages, candidate.passages, config.measurement.bootstrap_samples),
        pairs=compare(base.facts.answers, candidate.facts.answers),
        size_ratio=case.manifest.weight_bytes / case.base.weight_bytes,
        evidence=candidate.facts.evidence,
        quantized=case.manifest.bits is None or case.manifest.bits < 16,
        speeds=tuple(
            SpeedPair(one.concurrency, one.tokens_per_s, other.tokens_per_s)
            for one, other in zip(base.facts.speeds, candidate.facts.speeds, strict=True)
        ),
    )


def _base(case: Case, config: GateConfig, *, force: bool) -> tuple[Measured, bool]:
    """Return the base's measurement and whether it came from the cache."""
    folder = config.run_dir / "gate-cache"
    key = keys.base_key(
        config.measurement, case.evaluation.sha256, case.base_sha256, case.engine_version, ROOT
    )
    if not force and (known := cache.load(folder, key)):
        console.print("base: measured before")
        return known, True
    try:
        measured = _measure(config, case.base.directory, "base", list(case.evaluation.passages))
    except (EngineFailed, BadReply) as error:
        raise GateError(
            f"the base {case.base.directory} could not be measured: {error}",
            mend="The candidate was not judged. See run/gate/base.log",
        ) from error
    cache.store(folder, key, measured)
    return measured, False


def _measure(config: GateConfig, target: Path, role: str, prompts: Sequence[Prompt]) -> Measured:
    with _progress(role, requests_of(config.measurement)) as tick, running(config, target, role) as engine:
        client = Client(engine.url, engine.model, timeout_s=config.request_timeout_s)
        with contextlib.closing(client):
            return measure(engine, client, config.measurement, prompts, tick)


@contextlib.contextmanager
def _progress(role: str, total: int) -> Iterator[Tick]:
    with progress() as bar:
        task = bar.add_task(f"{role}: starting the engine", total=total)
        yield lambda what: bar.update(task, advance=1, description=f"{role}: {what}")
