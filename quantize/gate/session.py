"""Measure base and candidate, judge, and write what was found."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from quantserve.core.console import console, progress
from quantserve.quantize.artifact import Manifest
from quantserve.quantize.gate import keys
from quantserve.quantize.gate.cache import (
    PairMeasurement,
    load_measurement,
    load_replies,
    load_view,
    store_measurement,
    store_replies,
    store_view,
)
from quantserve.quantize.gate.case import Case
from quantserve.quantize.gate.evaluation import EvaluationText
from quantserve.quantize.gate.facts import Fact, verdict_facts
from quantserve.quantize.gate.facts.answers import (
    TOOL_QUESTIONS,
    compare_answers,
    compare_calls,
    length_ratio,
    questions_for,
)
from quantserve.quantize.gate.facts.comparing import compare_facts
from quantserve.quantize.gate.identity import differences, read_identity
from quantserve.quantize.gate.judge.verdict import Findings, GateVerdict, judge, reasons
from quantserve.quantize.gate.measure.config import GateConfig
from quantserve.quantize.gate.measure.figures import LanguageQuality, Quality, ScoredPassage, compare_passages
from quantserve.quantize.gate.measure.pairing import (
    EXACT,
    CandidateFailed,
    EngineMeasurement,
    GateQuestions,
    Measurements,
    Pairing,
    Reference,
    RunningEngine,
    measure_reference,
)
from quantserve.quantize.gate.measure.requests import EvaluationPrompt, ModelView, Tick, speed_pairs
from quantserve.quantize.gate.measure.tasks import TaskScores, compare_tasks, run_tasks
from quantserve.quantize.gate.report.report import build_report, measured_json, publish_report
from quantserve.quantize.methods.formats.layouts import BITSANDBYTES_SETTINGS
from quantserve.quantize.models.finite import not_finite


def judge_case(
    case: Case, config: GateConfig, overlap_checked: bool, *, force: bool
) -> tuple[GateVerdict, dict[str, Any]]:
    """Measure, judge, write the reports, show them.

    Raises:
        GateError: the base could not be measured, so nothing can be said about the candidate.
    """
    folder = config.run_dir / "gate-cache"
    common = _common(case, overlap_checked)
    if damaged := _damaged(case):
        return _without_figures(case, common, GateVerdict.ANOMALOUS, damaged, None)
    known = None if force else load_measurement(folder, _measurement_key(case, config))
    if known is not None:
        console.print("measured before; judged by today's limits (--force measures again)")
    else:
        try:
            known = _measure(case, config, folder, force=force)
        except CandidateFailed as failure:
            verdict = GateVerdict.INFEASIBLE if failure.finite else GateVerdict.ANOMALOUS
            return _without_figures(case, common, verdict, failure.reason, failure.base)
    verdict, checks = judge(known.findings, case.thresholds)
    text = build_report(
        verdict=verdict,
        reasons=reasons(checks),
        base=known.base,
        candidate=known.candidate,
        findings=known.findings,
        checks=checks,
        arrangement=known.arrangement,
        **common,
    )
    publish_report(case.directory, case.manifest, text, checks)
    return verdict, text


def _damaged(case: Case) -> str:
    """Return what weights of the artifact are no numbers where the base's are, or nothing."""
    bad = not_finite(case.directory)
    names = [name for name in bad if name not in not_finite(case.base.directory)] if bad else []
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"weights that are no finite numbers: {names[0]}{more}" if names else ""


def _without_figures(
    case: Case, common: dict[str, Any], verdict: GateVerdict, reason: str, base: EngineMeasurement | None
) -> tuple[GateVerdict, dict[str, Any]]:
    """Write the report of a candidate that could not be measured, and return it."""
    text = build_report(
        verdict=verdict,
        reasons=[reason],
        base={**_base_facts(case, False), **measured_json(base)},
        candidate=_candidate_facts(case),
        **common,
    )
    publish_report(case.directory, case.manifest, text, ())
    return verdict, text


def _measure(case: Case, config: GateConfig, folder: Path, *, force: bool) -> PairMeasurement:
    """Start the engines, ask them everything, and keep what they said.

    Raises:
        CandidateFailed, GateError: from `Pairing.measure`.
    """
    key = keys.base_key(config.measurement, case.evaluation.sha256, case.base_sha256, case.deployment)
    view = None if force else load_view(folder, key)
    try:
        with _progress() as (tick, set_total):
            pairing = _pairing(case, config, view, tick)
            own = folder / f"{key}-{EXACT}.json"
            exact = None if force else load_replies(own)
            set_total(pairing.requests() + (0 if exact else pairing.asked.reference_requests()))
            measured = pairing.measure()
            if view is None:
                store_view(folder, key, measured.base.view)
            reference = measure_reference(
                config,
                case.base.directory,
                measured.base.cost.dtype,
                pairing.asked,
                exact,
                pairing.tick_for(EXACT),
            )
    except CandidateFailed as failure:
        if failure.base is not None:
            store_view(folder, key, failure.base.view)
        raise
    if reference.replies is not None and exact is None:
        store_replies(own, reference.replies)
    result = PairMeasurement(
        findings_of(case, config, measured, pairing.asked.facts, reference),
        {**_base_facts(case, view is not None), **measured_json(measured.base)},
        {**_candidate_facts(case), **measured_json(measured.candidate)},
        measured.room.reason,
    )
    store_measurement(folder, _measurement_key(case, config), result)
    return result


def _measurement_key(case: Case, config: GateConfig) -> str:
    evaluation, base = case.evaluation.sha256, case.base_sha256
    return keys.measurement_key(
        config.measurement, evaluation, base, case.deployment, case.manifest, case.tasks
    )


def findings_of(
    case: Case, config: GateConfig, measured: Measurements, facts: Sequence[Fact], reference: Reference
) -> Findings:
    """Put the measurements side by side."""
    base, candidate = measured.base, measured.candidate
    own = reference.replies
    samples = config.measurement.bootstrap_samples
    overall, languages = qualities(case.evaluation, base.view.passages, candidate.view.passages, samples)
    return Findings(
        quality=overall,
        languages=languages,
        pairs=compare_answers(base.view.replies.answers, candidate.view.replies.answers),
        facts=compare_facts(
            facts,
            base.view.replies.facts,
            candidate.view.replies.facts,
            None if own is None else own.facts,
            reference.problem,
        ),
        own_length_ratio=None
        if own is None
        else length_ratio(compare_answers(base.view.replies.answers, own.answers)),
        calls=compare_calls(base.view.replies.tool_calls, candidate.view.replies.tool_calls),
        differences=differences(read_identity(case.base.directory), read_identity(case.directory)),
        size_ratio=case.manifest.weight_bytes / case.base.weight_bytes,
        evidence=candidate.cost.evidence,
        quantized=case.manifest.bits is None or case.manifest.bits < 16,
        speeds=speed_pairs(base.cost.rounds, candidate.cost.rounds),
        tasks=compare_tasks(base.tasks, candidate.tasks),
        while_loading=_quantized_while_loading(case.manifest),
    )


def qualities(
    evaluation: EvaluationText,
    base: tuple[ScoredPassage, ...],
    candidate: tuple[ScoredPassage, ...],
    samples: int,
) -> tuple[Quality, tuple[LanguageQuality, ...]]:
    """Return the figures on all judged passages together, and by language."""

    def on(numbers: list[int]) -> Quality:
        return compare_passages([base[i] for i in numbers], [candidate[i] for i in numbers], samples)

    extracts = evaluation.extracts
    overall = on([i for i, extract in enumerate(extracts) if extract.judged])
    by_language = tuple(
        LanguageQuality(
            name,
            name in evaluation.judged,
            on([i for i, extract in enumerate(extracts) if extract.language == name]),
        )
        for name in evaluation.languages
    )
    return overall, by_language


def _pairing(case: Case, config: GateConfig, known: ModelView | None, tick: Tick) -> Pairing:
    return Pairing(
        config=config,
        base=case.base.directory,
        candidate=case.directory,
        more_weights=int(case.base.weight_bytes - _weights_in_memory(case.manifest)),
        asked=GateQuestions(
            tuple(EvaluationPrompt(extract.text, extract.max_tokens) for extract in case.evaluation.extracts),
            questions_for(case.evaluation.judged),
            TOOL_QUESTIONS,
            verdict_facts(case.evaluation.judged, config.measurement.facts),
        ),
        known=known,
        on_gpu=bool(case.deployment.machine["gpus"]),
        tasks=None if case.tasks is None else functools.partial(_run_tasks, case, config),
        tick=tick,
    )


def _quantized_while_loading(manifest: Manifest) -> bool:
    return BITSANDBYTES_SETTINGS in manifest.files


def _weights_in_memory(manifest: Manifest) -> float:
    """Return the bytes of an artifact's weights once they are loaded."""
    if _quantized_while_loading(manifest) and manifest.bits is not None:
        return manifest.weight_bytes * manifest.bits / 16
    return manifest.weight_bytes


def _run_tasks(case: Case, config: GateConfig, up: RunningEngine, role: str) -> TaskScores:
    if case.tasks is None:
        return TaskScores({})
    console.print(f"{role}: {', '.join(case.tasks.names)} (log: {config.run_dir / 'gate' / 'tasks.log'})")
    return run_tasks(
        config, case.tasks, url=up.engine.url, model=up.engine.model, tokenizer=case.base.directory
    )


def _common(case: Case, overlap_checked: bool) -> dict[str, Any]:
    return {
        "thresholds": case.thresholds,
        "key": case.key,
        "evaluation": {
            "source": case.evaluation.source,
            "sha256": case.evaluation.sha256,
            "passages": len(case.evaluation.extracts),
            "judged": list(case.evaluation.judged),
            "calibration_overlap_checked": overlap_checked,
        },
        "environment": {
            "engine": case.deployment.engine,
            **case.deployment.machine,
            "plans": case.deployment.plans,
        },
    }


def _base_facts(case: Case, cached: bool) -> dict[str, Any]:
    return {
        "directory": str(case.base.directory),
        "sha256": case.base_sha256,
        "parameters": case.base.elements,
        "weight_bytes": case.base.weight_bytes,
        "cached": cached,
    }


def _candidate_facts(case: Case) -> dict[str, Any]:
    return {
        "directory": str(case.directory),
        "version": case.manifest.version,
        "method": case.manifest.method,
        "bits": case.manifest.bits,
        "weight_bytes": case.manifest.weight_bytes,
    }


@contextlib.contextmanager
def _progress() -> Iterator[tuple[Tick, Any]]:
    with progress() as bar:
        task = bar.add_task("starting the engines", total=None)
        yield (
            lambda what: bar.update(task, advance=1, description=what),
            lambda total: bar.update(task, total=total),
        )
