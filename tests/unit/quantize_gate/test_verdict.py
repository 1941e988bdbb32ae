from __future__ import annotations

from dataclasses import replace

import pytest

from quantserve.core.speed import SpeedPair
from quantserve.quantize.gate.facts.answers import ChatAnswer, compare_answers, compare_calls
from quantserve.quantize.gate.judge.thresholds import Fault, Thresholds
from quantserve.quantize.gate.judge.verdict import Findings, GateVerdict, judge, reasons
from quantserve.quantize.gate.measure.engine import KernelEvidence
from quantserve.quantize.gate.measure.figures import IntervalEstimate, LanguageQuality, Quality
from quantserve.quantize.gate.measure.tasks import TaskPair

LIMITS = Thresholds(0.10, 0.10, 0.80, 0.95, 1)
QUALITY = Quality(
    tokens=4000,
    base_perplexity=15.0,
    candidate_perplexity=15.75,
    perplexity_ratio=IntervalEstimate(1.05, 1.03, 1.07),
    mean_kl=IntervalEstimate(0.04, 0.03, 0.05),
    p99_kl=0.4,
    unseen_mass=0.01,
    top1_agreement=IntervalEstimate(0.90, 0.88, 0.92),
)
BAD = replace(
    QUALITY, perplexity_ratio=IntervalEstimate(1.5, 1.4, 1.6), top1_agreement=IntervalEstimate(0.6, 0.5, 0.7)
)
CALL = ChatAnswer("Call!", '{"name": "convert", "arguments": {}}', "stop", 10, (1, 2))
NO_CALL = replace(CALL, text="I cannot.")
GOOD = ChatAnswer("Where?", "Paris.", "stop", 10, (1, 2))
ENDLESS = replace(GOOD, text="and so on", finish_reason="length", tokens=10)
PROVED = KernelEvidence("auto_gptq", ("CPUWNA16LinearKernel",), ())
FINE = Findings(
    quality=QUALITY,
    languages=(LanguageQuality("en", True, QUALITY), LanguageQuality("ko", False, BAD)),
    pairs=compare_answers([GOOD] * 3, [GOOD] * 3),
    calls=compare_calls([CALL] * 3, [CALL] * 3),
    differences=(),
    size_ratio=0.45,
    evidence=PROVED,
    quantized=True,
    speeds=(SpeedPair(1, 20.0, 30.0), SpeedPair(16, 200.0, 100.0)),
)


def quality(**changes: object) -> Findings:
    return replace(FINE, quality=replace(QUALITY, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("findings", "verdict", "reason"),
    [
        (FINE, GateVerdict.ACCEPT, None),
        (quality(perplexity_ratio=IntervalEstimate(1.10, 1.08, 1.12)), GateVerdict.ACCEPT, None),
        (
            quality(perplexity_ratio=IntervalEstimate(1.12, 1.08, 1.16)),
            GateVerdict.REGRESSION,
            "perplexity: +12.0% (+8.0%…+16.0%), needed ≤ +10.0%",
        ),
        (
            quality(perplexity_ratio=IntervalEstimate(float("inf"), 1.0, 2.0)),
            GateVerdict.REGRESSION,
            "perplexity: +inf%",
        ),
        (
            quality(mean_kl=IntervalEstimate(0.2, 0.1, 0.3)),
            GateVerdict.REGRESSION,
            "mean KL divergence, nats: 0.2000",
        ),
        (
            quality(top1_agreement=IntervalEstimate(0.79, 0.7, 0.8)),
            GateVerdict.REGRESSION,
            "top-1 agreement: 79.0%",
        ),
        (
            replace(FINE, size_ratio=1.0),
            GateVerdict.REGRESSION,
            "size of the weights: ×1.000, needed ≤ ×0.95",
        ),
        (replace(FINE, size_ratio=1.0, while_loading=True), GateVerdict.ACCEPT, None),
        (replace(FINE, pairs=compare_answers([GOOD] * 2, [GOOD, ENDLESS])), GateVerdict.ACCEPT, None),
        (
            replace(FINE, pairs=compare_answers([GOOD] * 2, [ENDLESS] * 2)),
            GateVerdict.REGRESSION,
            "chat answers: 2 newly bad ('Where?' does not end by itself (length after 10 tokens); ",
        ),
        (replace(FINE, pairs=compare_answers([ENDLESS] * 2, [ENDLESS] * 2)), GateVerdict.ACCEPT, None),
        (
            replace(FINE, pairs=compare_answers([GOOD], [replace(GOOD, tokens=23)]), own_length_ratio=1.05),
            GateVerdict.REGRESSION,
            "answer length: ×2.30 (the base's own in float32 ×1.05), needed ×0.50…×2.00",
        ),
        (
            replace(FINE, pairs=compare_answers([GOOD], [replace(GOOD, tokens=4)])),
            GateVerdict.REGRESSION,
            "answer length",
        ),
        (replace(FINE, pairs=compare_answers([GOOD], [replace(GOOD, tokens=20)])), GateVerdict.ACCEPT, None),
        (
            replace(FINE, pairs=compare_answers([GOOD], [replace(GOOD, prompt_ids=(1, 3))])),
            GateVerdict.REGRESSION,
            "chat prompts as tokens: different, needed same",
        ),
        (
            quality(
                perplexity_ratio=IntervalEstimate(0.9, 0.88, 0.95),
                top1_agreement=IntervalEstimate(0.85, 0.8, 0.9),
            ),
            GateVerdict.ANOMALOUS,
            "figures fit together: 5.0% better than the base with 85.0% agreement",
        ),
        (
            quality(
                perplexity_ratio=IntervalEstimate(0.97, 0.93, 0.99),
                top1_agreement=IntervalEstimate(0.85, 0.8, 0.9),
            ),
            GateVerdict.ACCEPT,  # the gain may be chance
            None,
        ),
        (
            replace(FINE, differences=("the chat template", "special token <s> lost")),
            GateVerdict.REGRESSION,
            "chat template and special tokens: the chat template; special token <s> lost, needed same",
        ),
        (
            replace(FINE, calls=compare_calls([CALL] * 3, [CALL, CALL, NO_CALL])),
            GateVerdict.REGRESSION,
            "tool calls: 1 newly broken, needed ≤ 0",
        ),
        (replace(FINE, calls=compare_calls([NO_CALL] * 3, [NO_CALL] * 3)), GateVerdict.ACCEPT, None),
        (
            replace(FINE, tasks=(TaskPair("mmlu", "acc,none", 0.5, 0.3),)),
            GateVerdict.ACCEPT,  # no limit for a model of this size
            None,
        ),
        (
            replace(FINE, evidence=KernelEvidence(None, (), ())),
            GateVerdict.ANOMALOUS,
            "quantized kernel: the engine's log says it reads plain weights",
        ),
        (
            replace(FINE, evidence=KernelEvidence("mxfp4", ("EmulationMxfp4LinearKernel",), ())),
            GateVerdict.ANOMALOUS,
            "quantized kernel: fallback kernel EmulationMxfp4LinearKernel",
        ),
        (
            replace(FINE, evidence=KernelEvidence("auto_gptq", (), ())),
            GateVerdict.ANOMALOUS,
            "quantized kernel: quantization=auto_gptq, but no kernel in the log",
        ),
        (replace(FINE, evidence=KernelEvidence(None, (), ()), quantized=False), GateVerdict.ACCEPT, None),
        (
            quality(
                perplexity_ratio=IntervalEstimate(1.0, 1.0, 1.0), mean_kl=IntervalEstimate(0.0, 0.0, 0.0)
            ),
            GateVerdict.ANOMALOUS,
            "not the base itself: every log-probability equals the base's",
        ),
    ],
)
def test_judge(findings: Findings, verdict: GateVerdict, reason: str | None) -> None:
    given, checks = judge(findings, LIMITS)

    assert given is verdict
    if reason is None:
        assert reasons(checks) == ()
    else:
        (only,) = reasons(checks)
        assert only.startswith(reason)


def test_a_loss_in_one_of_two_languages_does_not_hide_behind_the_other() -> None:
    both = (LanguageQuality("en", True, QUALITY), LanguageQuality("ko", True, BAD))

    verdict, checks = judge(replace(FINE, languages=both), LIMITS)

    assert verdict is GateVerdict.REGRESSION
    assert reasons(checks) == (
        "perplexity, ko: +50.0% (+40.0%…+60.0%), needed ≤ +10.0%",
        "top-1 agreement, ko: 60.0% (50.0%…70.0%), needed ≥ 80.0%",
    )


def test_tasks_are_judged_one_by_one_and_together_where_limits_are_given() -> None:
    limits = replace(LIMITS, min_task_recovery=0.96, min_mean_recovery=0.98)
    tasks = (TaskPair("one", "acc,none", 0.80, 0.76), TaskPair("two", "word_perplexity,none", 10.0, 10.0))

    verdict, checks = judge(replace(FINE, tasks=tasks), limits)

    assert verdict is GateVerdict.REGRESSION
    assert reasons(checks) == (
        "task one, acc,none: 95.0% recovered, needed ≥ 96%",
        "tasks, mean: 97.5% recovered, needed ≥ 98%",
    )


def test_figures_that_cannot_be_trusted_outweigh_a_regression() -> None:
    findings = replace(
        quality(mean_kl=IntervalEstimate(0.2, 0.1, 0.3)), evidence=KernelEvidence(None, (), ())
    )

    verdict, checks = judge(findings, LIMITS)

    assert verdict is GateVerdict.ANOMALOUS
    assert {check.fault for check in checks if check.passed is False} == {Fault.ANOMALY, Fault.REGRESSION}


def test_speed_is_reported_unless_a_limit_asks() -> None:
    assert judge(FINE, replace(LIMITS, min_speed_ratio=0.5))[0] is GateVerdict.ACCEPT
    verdict, checks = judge(FINE, replace(LIMITS, min_speed_ratio=0.6))
    assert verdict is GateVerdict.REGRESSION
    assert reasons(checks) == ("output speed at 16: ×0.50, slower, needed ≥ ×0.60",)


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        (GateVerdict.ACCEPT, 0),
        (GateVerdict.REGRESSION, 3),
        (GateVerdict.ANOMALOUS, 4),
        (GateVerdict.INFEASIBLE, 5),
    ],
)
def test_exit_codes(verdict: GateVerdict, code: int) -> None:
    assert verdict.exit_code == code
