"""From figures and thresholds to a verdict and its reasons. Pure."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from quantserve.core.speed import SpeedPair, sign
from quantserve.quantize.gate.answers import Pair, length_ratio, same_prompts
from quantserve.quantize.gate.check import Check, Fault
from quantserve.quantize.gate.fact_checks import fact_checks
from quantserve.quantize.gate.facts.comparing import FactFindings
from quantserve.quantize.gate.figures import LanguageQuality, Quality
from quantserve.quantize.gate.kernel import KernelEvidence
from quantserve.quantize.gate.tasks import TaskPair, mean_recovery
from quantserve.quantize.gate.thresholds import Thresholds
from quantserve.quantize.gate.tool_calls import CallPair


class Verdict(enum.StrEnum):
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
    pairs: tuple[Pair, ...]
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


def judge(findings: Findings, limits: Thresholds) -> tuple[Verdict, tuple[Check, ...]]:
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
        return Verdict.ANOMALOUS, checks
    return (Verdict.REGRESSION if faults else Verdict.ACCEPT), checks


def reasons(checks: Sequence[Check]) -> tuple[str, ...]:
    """Return the failed checks as sentences."""
    return tuple(check.reason for check in checks if check.passed is False)


def _quality_checks(quality: Quality, limits: Thresholds) -> tuple[Check, ...]:
    ratio, kl, agreement = quality.perplexity_ratio, quality.mean_kl, quality.top1_agreement
    return (
        Check(
            "perplexity",
            f"{quality.base_perplexity:.3f}",
            f"{quality.candidate_perplexity:.3f}",
            f"{ratio.value - 1:+.1%} ({ratio.low - 1:+.1%}…{ratio.high - 1:+.1%})",
            f"≤ {limits.max_ppl_increase:+.1%}",
            ratio.value <= 1 + limits.max_ppl_increase,
        ),
        Check(
            "mean KL divergence, nats",
            "",
            "",
            f"{kl.value:.4f} ({kl.low:.4f}…{kl.high:.4f})",
            f"≤ {limits.max_mean_kl:.4f}",
            kl.value <= limits.max_mean_kl,
        ),
        Check("99th-percentile KL, nats", "", "", f"{quality.p99_kl:.3f}", "", None),
        Check("base mass not compared", "", "", f"{quality.unseen_mass:.2%}", "", None),
        Check(
            "top-1 agreement",
            "",
            "",
            f"{agreement.value:.1%} ({agreement.low:.1%}…{agreement.high:.1%})",
            f"≥ {limits.min_top1_agreement:.1%}",
            agreement.value >= limits.min_top1_agreement,
        ),
    )


def _language_checks(languages: Sequence[LanguageQuality], limits: Thresholds) -> tuple[Check, ...]:
    """Hold each language to the limits of all: a loss in one must not hide behind the other.

    With one judged language the overall figures are that language's, and are not judged twice.
    """
    several = sum(one.judged for one in languages) > 1
    checks = []
    for one in languages:
        if one.judged and not several:
            continue
        ratio, agreement = one.quality.perplexity_ratio, one.quality.top1_agreement
        aside = "" if one.judged else ", not this model's"
        checks += [
            Check(
                f"perplexity, {one.language}{aside}",
                f"{one.quality.base_perplexity:.3f}",
                f"{one.quality.candidate_perplexity:.3f}",
                f"{ratio.value - 1:+.1%} ({ratio.low - 1:+.1%}…{ratio.high - 1:+.1%})",
                f"≤ {limits.max_ppl_increase:+.1%}" if one.judged else "",
                ratio.value <= 1 + limits.max_ppl_increase if one.judged else None,
            ),
            Check(
                f"top-1 agreement, {one.language}{aside}",
                "",
                "",
                f"{agreement.value:.1%} ({agreement.low:.1%}…{agreement.high:.1%})",
                f"≥ {limits.min_top1_agreement:.1%}" if one.judged else "",
                agreement.value >= limits.min_top1_agreement if one.judged else None,
            ),
        ]
    return tuple(checks)


def _call_check(calls: Sequence[CallPair], limits: Thresholds) -> Check:
    broken = sum(pair.newly_broken for pair in calls)
    able = sum(pair.base_parses for pair in calls)
    return Check(
        "tool calls",
        f"{able} of {len(calls)} parse",
        f"{sum(pair.candidate_parses for pair in calls)} of {len(calls)} parse",
        f"{broken} newly broken" if able else "the base makes none",
        f"≤ {limits.max_new_broken_calls}" if able else "",
        broken <= limits.max_new_broken_calls if able else None,
    )


def _identity_check(differences: Sequence[str]) -> Check:
    return Check(
        "chat template and special tokens",
        "",
        "",
        "; ".join(differences) if differences else "same",
        "same",
        not differences,
    )


def _task_checks(tasks: Sequence[TaskPair], limits: Thresholds) -> tuple[Check, ...]:
    least, mean_least = limits.min_task_recovery, limits.min_mean_recovery
    checks = [
        Check(
            f"task {pair.task}, {pair.metric}",
            f"{pair.base:.4f}",
            f"{pair.candidate:.4f}",
            "unknown" if pair.recovery is None else f"{pair.recovery:.1%} recovered",
            "" if least is None else f"≥ {least:.0%}",
            None if least is None or pair.recovery is None else pair.recovery >= least,
        )
        for pair in tasks
    ]
    mean = mean_recovery(tasks)
    if mean is not None:
        checks.append(
            Check(
                "tasks, mean",
                "",
                "",
                f"{mean:.1%} recovered",
                "" if mean_least is None else f"≥ {mean_least:.0%}",
                None if mean_least is None else mean >= mean_least,
            )
        )
    return tuple(checks)


def _answer_checks(findings: Findings, limits: Thresholds) -> tuple[Check, ...]:
    pairs, own = findings.pairs, findings.own_length_ratio
    new = [pair for pair in pairs if pair.newly_bad]
    detail = "; ".join(f"{pair.question!r} {', '.join(pair.candidate_problems)}" for pair in new)
    length = length_ratio(pairs)
    bound = limits.max_answer_length_ratio
    same = same_prompts(pairs)
    return (
        Check(
            "chat answers",
            f"{sum(not pair.base_problems for pair in pairs)} of {len(pairs)} well-formed",
            f"{sum(not pair.candidate_problems for pair in pairs)} of {len(pairs)} well-formed",
            f"{len(new)} newly bad",
            f"≤ {limits.max_new_bad_answers}",
            len(new) <= limits.max_new_bad_answers,
            detail=detail,
        ),
        Check(
            "answer length",
            f"{sum(pair.base.tokens for pair in pairs)} tokens",
            f"{sum(pair.candidate.tokens for pair in pairs)} tokens",
            "unknown" if length is None else f"×{length:.2f}",
            f"×{1 / bound:.2f}…×{bound:.2f}",
            None if length is None else 1 / bound <= length <= bound,
            detail="" if own is None else f"the base's own in float32 ×{own:.2f}",
        ),
        Check(
            "chat prompts as tokens",
            "",
            "",
            {True: "same", False: "different", None: "unknown"}[same],
            "same",
            same,
        ),
    )


def _size_check(findings: Findings, limits: Thresholds) -> Check:
    name, ratio, limit = "size of the weights", findings.size_ratio, limits.max_size_ratio
    if findings.while_loading:
        return Check(name, "", "", f"×{ratio:.3f}, quantized while loading", "", None)
    return Check(name, "", "", f"×{ratio:.3f}", f"≤ ×{limit:.2f}", ratio <= limit)


def _speed_checks(speeds: Sequence[SpeedPair], limits: Thresholds) -> tuple[Check, ...]:
    least = limits.min_speed_ratio
    return tuple(
        Check(
            f"output speed at {pair.concurrency}",
            f"{pair.base:.1f} tok/s",
            f"{pair.candidate:.1f} tok/s",
            _speed_story(pair),
            "" if least is None else f"≥ ×{least:.2f}",
            None if least is None else pair.ratio >= least,
        )
        for pair in speeds
    )


def _speed_story(pair: SpeedPair) -> str:
    spread = "" if pair.low is None or pair.high is None else f" (×{pair.low:.2f}…×{pair.high:.2f})"
    return f"×{pair.ratio:.2f}{spread}" + (", slower" if sign(pair) < 0 else "")


def _anomaly_checks(findings: Findings, limits: Thresholds) -> tuple[Check, ...]:
    quality, evidence = findings.quality, findings.evidence
    gain, agreement = 1 - quality.perplexity_ratio.high, quality.top1_agreement.value
    contradictory = gain >= limits.suspicious_ppl_gain and agreement < limits.suspicious_agreement
    checks = [
        Check(
            "figures fit together",
            "",
            "",
            f"{gain:.1%} better than the base with {agreement:.1%} agreement" if contradictory else "yes",
            "yes",
            not contradictory,
            Fault.ANOMALY,
        )
    ]
    if findings.quantized:
        identical = quality.mean_kl.value == 0.0 and quality.perplexity_ratio.value == 1.0
        checks.append(
            Check(
                "quantized kernel",
                "",
                ", ".join(evidence.kernels) or "none logged",
                _kernel_story(evidence),
                "loaded",
                evidence.proved,
                Fault.ANOMALY,
            )
        )
        checks.append(
            Check(
                "not the base itself",
                "",
                "",
                "every log-probability equals the base's" if identical else "yes",
                "yes",
                not identical,
                Fault.ANOMALY,
            )
        )
    return tuple(checks)


def _kernel_story(evidence: KernelEvidence) -> str:
    if evidence.proved:
        return f"quantization={evidence.quantization}"
    if evidence.fallback:
        return f"fallback kernel {', '.join(evidence.fallback)}"
    if evidence.quantization is None:
        return "the engine's log says it reads plain weights"
    return f"quantization={evidence.quantization}, but no kernel in the log"
