from __future__ import annotations

import pytest

from quantserve.quantize.gate.case import GateLimits
from quantserve.quantize.gate.judge.thresholds import thresholds_for


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
def test_a_larger_model_is_never_allowed_to_lose_more(bits: int) -> None:
    classes = [thresholds_for(bits, size) for size in (135e6, 1e9, 8e9, 70e9)]

    losses = [limit.max_ppl_increase for limit in classes]
    agreements = [limit.min_top1_agreement for limit in classes]
    assert losses == sorted(losses, reverse=True)
    assert agreements == sorted(agreements)


@pytest.mark.parametrize("parameters", [135e6, 1e9, 8e9, 70e9])
def test_more_bits_are_never_allowed_to_lose_more(parameters: float) -> None:
    losses = [thresholds_for(bits, parameters).max_ppl_increase for bits in (2, 3, 4, 8, 16)]

    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize(
    ("ppl_increase", "mean_kl", "top1_agreement", "bad_answers"),
    [
        (0.007, 0.0097, 0.924, 1),
        (0.019, 0.0205, 0.891, 0),
        (0.023, 0.0205, 0.890, 2),
        (0.020, 0.0146, 0.908, 1),
    ],
    ids=["int8", "fp8", "fp8, compiled on an H200", "llm_int8"],
)
def test_sound_eight_bits_of_the_default_model_as_gpus_measured_them_are_within_the_limits(
    ppl_increase: float, mean_kl: float, top1_agreement: float, bad_answers: int
) -> None:
    limits = thresholds_for(8, 135e6)

    assert ppl_increase <= limits.max_ppl_increase
    assert mean_kl <= limits.max_mean_kl
    assert top1_agreement >= limits.min_top1_agreement
    assert bad_answers <= limits.max_new_bad_answers


def test_unknown_bits_are_judged_as_four() -> None:
    assert thresholds_for(None, 8e9) == thresholds_for(4, 8e9)


def test_a_given_limit_replaces_the_default_and_leaves_the_others() -> None:
    limits = GateLimits(max_ppl_increase=0.0, min_speed_ratio=0.9).over(thresholds_for(4, 135e6))

    assert (limits.max_ppl_increase, limits.min_speed_ratio) == (0.0, 0.9)
    assert limits.min_top1_agreement == thresholds_for(4, 135e6).min_top1_agreement


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("parameters", "recovery"), [(135e6, None), (1e9, None), (8e9, 0.96), (70e9, 0.96)])
def test_tasks_are_judged_where_they_are_above_chance(
    bits: int, parameters: float, recovery: float | None
) -> None:
    assert thresholds_for(bits, parameters).min_task_recovery == recovery


def test_the_divergence_limit_follows_the_agreement_unless_it_is_given() -> None:
    limits = thresholds_for(8, 135e6)

    assert limits.divergence_limit == pytest.approx(0.078)  # 0.6 of 13 %; measured: 3.7 % beyond the floor
    assert GateLimits(min_top1_agreement=0.5).over(limits).divergence_limit == pytest.approx(0.3)
    assert GateLimits(max_divergence=0.01).over(limits).divergence_limit == 0.01
    assert GateLimits(max_divergence=0.0).over(limits).divergence_limit == 0.0


@pytest.mark.parametrize("bits", [3, 4, 8, 16])
def test_answers_of_twice_the_length_are_the_most_that_is_allowed(bits: int) -> None:
    assert thresholds_for(bits, 135e6).max_answer_length_ratio == 2.0
