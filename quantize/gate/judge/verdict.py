"""From figures and thresholds to a verdict and its reasons. Pure."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from quantserve.core.speed import SpeedPair, sign
from quantserve.quantize.gate.facts.answers import AnswerPair, CallPair, length_ratio, same_prompts
from quantserve.quantize.gate.facts.comparing import FactFindings
from quantserve.quantize.gate.judge.fact_checks import fact_checks
from quantserve.quantize.gate.judge.thresholds import Fault, GateCheck, Thresholds
from quantserve.quantize.gate.measure.engine import KernelEvidence
from quantserve.quantize.gate.measure.figures import LanguageQuality, Quality
from quantserve.quantize.gate.measure.tasks import TaskPair, mean_recovery


class GateVerdict(enum.StrEnum):
    """What the gate says about an artifact."""

    ACCEPT = "ACCEPT"
    REGRESSION = "REGRESSION"
    ANOMALOUS = "ANOMALOUS"
    INFEASIBLE = "INFEASIBLE"

    @property
    def exit_code(self) -> int:
        """The command's exit code."""
        return {"ACCEPT": 0, "REGRESSION": 3, "ANOMALOUS": 4, "INFEASIBLE": 5}[self.value]


@dataclass(frozen=True)
class Findings:
    """Everything a verdict rests on; unknown is None."""

    quality: Quality
    """On all languages that are judged, together."""
    languages: tuple[LanguageQuality, ...]
    pairs: tuple[AnswerPair, ...]
    calls: tuple[CallPair, ...]
    differences: tuple[str, ...]
    """What of chat template and special tokens is not the base's."""
    size_ratio: float
    evidence: KernelEvidence
    quantized: bool
    """Whether the artifact claims to be quantized, so that a quantized kernel is expected."""
    speeds: tuple[SpeedPair, ...]
    tasks: tuple[TaskPair, ...] = ()
    facts: FactFindings | None = None
    """What the short prompts showed; None where none were asked."""
    own_length_ratio: float | None = None
    """The base's answers in float32 over its own as served, in tokens: the noise floor of the length."""
    while_loading: bool = False
    """Whether the engine quantizes while loading: the files are the base's, and their size says nothing."""


def judge(findings: Findings, limits: Thresholds) -> tuple[GateVerdict, tuple[GateCheck, ...]]:
    """Return the verdict and every check, failed or not.

    An anomaly outweighs a regression: a figure that cannot be trusted proves nothing either way.
    """
    checks = (
        *_quality_checks(findings.quality, limits),
        *_language_checks(findings.languages, limits),
        *fact_checks(findings.facts, limits),
        *_answer_checks(findings, limits),
        _call_check(findings.calls, limits),
        _identity_check(findings.differences),
        *_task_checks(findings.tasks, limits),
        _size_check(findings, limits),
        *_speed_checks(findings.speeds, limits),
        *_anomaly_checks(findings, limits),
    )
    faults = {check.fault for check in checks if check.passed is False}
    if Fault.ANOMALY in faults:
        return GateVerdict.ANOMALOUS, checks
    return (GateVerdict.REGRESSION if faults else GateVerdict.ACCEPT), checks


def reasons(checks: Sequence[GateCheck]) -> tuple[str, ...]:
    """Return the failed checks as sentences."""
    return tuple(check.reason for check in checks if check.passed is False)


def _quality_checks(quality: Quality, limits: Thresholds) -> tuple[GateCheck, ...]:
    kl = quality.mean_kl
    perplexity, agreement = _text_checks(quality, limits, "", judged=True)
    return (
        perplexity,
        GateCheck(
            "mean KL divergence, nats",
            f"{kl.value:.4f} ({kl.low:.4f}…{kl.high:.4f})",
            f"≤ {limits.max_mean_kl:.4f}",
            kl.value <= limits.max_mean_kl,
        ),
        GateCheck("99th-percentile KL, nats", f"{quality.p99_kl:.3f}"),
        GateCheck("base mass not compared", f"{quality.unseen_mass:.2%}"),
        agreement,
    )


def _text_checks(
    quality: Quality, limits: Thresholds, where: str, *, judged: bool
) -> tuple[GateCheck, GateCheck]:
    """Return the checks of perplexity and agreement on all text or, `where` says, on a part of it."""
    ratio, agreement = quality.perplexity_ratio, quality.top1_agreement
    return (
        GateCheck(
            f"perplexity{where}",
            f"{ratio.value - 1:+.1%} ({ratio.low - 1:+.1%}…{ratio.high - 1:+.1%})",
            f"≤ {limits.max_ppl_increase:+.1%}" if judged else "",
            ratio.value <= 1 + limits.max_ppl_increase if judged else None,
            base=f"{quality.base_perplexity:.3f}",
            candidate=f"{quality.candidate_perplexity:.3f}",
        ),
        GateCheck(
            f"top-1 agreement{where}",
            f"{agreement.value:.1%} ({agreement.low:.1%}…{agreement.high:.1%})",
            f"≥ {limits.min_top1_agreement:.1%}" if judged else "",
            agreement.value >= limits.min_top1_agreement if judged else None,
        ),
    )


def _language_checks(languages: Sequence[LanguageQuality], limits: Thresholds) -> tuple[GateCheck, ...]:
    """Hold each language to the limits of all: a loss in one must not hide behind the other.

    With one judged language the overall figures are that language's, and are not judged twice.
    """
    several = sum(one.judged for one in languages) > 1
    checks: list[GateCheck] = []
    for one in languages:
        if several or not one.judged:
            where = f", {one.language}" if one.judged else f", {one.language}, not this model's"
            checks += _text_checks(one.quality, limits, where, judged=one.judged)
    return tuple(checks)


def _call_check(calls: Sequence[CallPair], limits: Thresholds) -> GateCheck:
    broken = sum(pair.newly_broken for pair in calls)
    able = sum(pair.base_parses for pair in calls)
    return GateCheck(
        "tool calls",
        f"{broken} newly broken" if able else "the base makes none",
        f"≤ {limits.max_new_broken_calls}" if able else "",
        broken <= limits.max_new_broken_calls if able else None,
        base=f"{able} of {len(calls)} parse",
        candidate=f"{sum(pair.candidate_parses for pair in calls)} of {len(calls)} parse",
    )


def _identity_check(differences: Sequence[str]) -> GateCheck:
    value = "; ".join(differences) if differences else "same"
    return GateCheck("chat template and special tokens", value, "same", not differences)


def _at_least(value: float | None, least: float | None, form: str) -> tuple[str, bool | None]:
    """Return a lower limit as shown, and whether a value keeps it; None where one of them is unknown."""
    if least is None:
        return "", None
    return f"≥ {form.format(least)}", None if value is None else value >= least


def _task_checks(tasks: Sequence[TaskPair], limits: Thresholds) -> tuple[GateCheck, ...]:
    checks = [
        GateCheck(
            f"task {pair.task}, {pair.metric}",
            "unknown" if pair.recovery is None else f"{pair.recovery:.1%} recovered",
            *_at_least(pair.recovery, limits.min_task_recovery, "{:.0%}"),
            base=f"{pair.base:.4f}",
            candidate=f"{pair.candidate:.4f}",
        )
        for pair in tasks
    ]
    mean = mean_recovery(tasks)
    if mean is not None:
        limit = _at_least(mean, limits.min_mean_recovery, "{:.0%}")
        checks.append(GateCheck("tasks, mean", f"{mean:.1%} recovered", *limit))
    return tuple(checks)


def _answer_checks(findings: Findings, limits: Thresholds) -> tuple[GateCheck, ...]:
    pairs, own = findings.pairs, findings.own_length_ratio
    new = [pair for pair in pairs if pair.newly_bad]
    length, bound, same = length_ratio(pairs), limits.max_answer_length_ratio, same_prompts(pairs)
    return (
        GateCheck(
            "chat answers",
            f"{len(new)} newly bad",
            f"≤ {limits.max_new_bad_answers}",
            len(new) <= limits.max_new_bad_answers,
            base=f"{sum(not pair.base_problems for pair in pairs)} of {len(pairs)} well-formed",
            candidate=f"{sum(not pair.candidate_problems for pair in pairs)} of {len(pairs)} well-formed",
            detail="; ".join(f"{pair.question!r} {', '.join(pair.candidate_problems)}" for pair in new),
        ),
        GateCheck(
            "answer length",
            "unknown" if length is None else f"×{length:.2f}",
            f"×{1 / bound:.2f}…×{bound:.2f}",
            None if length is None else 1 / bound <= length <= bound,
            base=f"{sum(pair.base.tokens for pair in pairs)} tokens",
            candidate=f"{sum(pair.candidate.tokens for pair in pairs)} tokens",
            detail="" if own is None else f"the base's own in float32 ×{own:.2f}",
        ),
        GateCheck(
            "chat prompts as tokens", {True: "same", False: "different", None: "unknown"}[same], "same", same
        ),
    )


def _size_check(findings: Findings, limits: Thresholds) -> GateCheck:
    name, ratio, limit = "size of the weights", findings.size_ratio, limits.max_size_ratio
    if findings.while_loading:
        return GateCheck(name, f"×{ratio:.3f}, quantized while loading")
    return GateCheck(name, f"×{ratio:.3f}", f"≤ ×{limit:.2f}", ratio <= limit)


def _speed_checks(speeds: Sequence[SpeedPair], limits: Thresholds) -> tuple[GateCheck, ...]:
    return tuple(
        GateCheck(
            f"output speed at {pair.concurrency}",
            _speed_story(pair),
            *_at_least(pair.ratio, limits.min_speed_ratio, "×{:.2f}"),
            base=f"{pair.base:.1f} tok/s",
            candidate=f"{pair.candidate:.1f} tok/s",
        )
        for pair in speeds
    )


def _speed_story(pair: SpeedPair) -> str:
    spread = "" if pair.low is None or pair.high is None else f" (×{pair.low:.2f}…×{pair.high:.2f})"
    return f"×{pair.ratio:.2f}{spread}" + (", slower" if sign(pair) < 0 else "")


def _anomaly_checks(findings: Findings, limits: Thresholds) -> tuple[GateCheck, ...]:
    quality, evidence = findings.quality, findings.evidence
    gain, agreement = 1 - quality.perplexity_ratio.high, quality.top1_agreement.value
    contradictory = gain >= limits.suspicious_ppl_gain and agreement < limits.suspicious_agreement
    story = f"{gain:.1%} better than the base with {agreement:.1%} agreement" if contradictory else "yes"
    fit = GateCheck("figures fit together", story, "yes", not contradictory, fault=Fault.ANOMALY)
    if not findings.quantized:
        return (fit,)
    identical = quality.mean_kl.value == 0.0 and quality.perplexity_ratio.value == 1.0
    same = "every log-probability equals the base's" if identical else "yes"
    return (
        fit,
        GateCheck(
            "quantized kernel",
            _kernel_story(evidence),
            "loaded",
            evidence.proved,
            candidate=", ".join(evidence.kernels) or "none logged",
            fault=Fault.ANOMALY,
        ),
        GateCheck("not the base itself", same, "yes", not identical, fault=Fault.ANOMALY),
    )


def _kernel_story(evidence: KernelEvidence) -> str:
    if evidence.proved:
        return f"quantization={evidence.quantization}"
    if evidence.fallback:
        return f"fallback kernel {', '.join(evidence.fallback)}"
    if evidence.quantization is None:
        return "the engine's log says it reads plain weights"
    return f"quantization={evidence.quantization}, but no kernel in the log"
