from __future__ import annotations

from dataclasses import replace

import pytest

from quantserve.quantize.ladder.decision import (
    Goal,
    LadderStep,
    MethodCandidate,
    decide,
    dominates,
    hopeless,
    pareto,
    satisfies,
)


def step(method: str, ppl: float, size: float, batch: float, verdict: str = "ACCEPT") -> LadderStep:
    return LadderStep(
        MethodCandidate(method), f"artifacts/{method}", verdict, ppl, 0.9, size, {1: 1.1, 32: batch}
    )


RTN = step("rtn", 0.30, 0.43, 0.7, "REGRESSION")
AWQ = step("awq", 0.06, 0.43, 0.7)
GPTQ = step("gptq", 0.04, 0.45, 0.7)
INT8 = step("int8", 0.01, 0.65, 1.2)
WILD = step("wild", -0.3, 0.1, 9.0, "ANOMALOUS")
LOST = LadderStep(MethodCandidate("lost"), None, None, None, None, None, {}, problem="no such layers")


@pytest.mark.parametrize(
    ("one", "goal", "expected"),
    [
        (AWQ, Goal(0.08), True),
        (AWQ, Goal(0.06), True),
        (AWQ, Goal(0.05), False),
        (AWQ, Goal(0.08, "memory"), True),
        (AWQ, Goal(0.08, "speed"), False),  # slower in a batch
        (INT8, Goal(0.08, "speed"), True),
        (replace(INT8, speeds={1: 2.0, 32: 0.97}), Goal(0.08, "speed"), True),
        (replace(INT8, speeds={}), Goal(0.08, "speed"), False),
        (replace(AWQ, verdict="REGRESSION"), Goal(0.08), False),  # answers, or tool calls
        (WILD, Goal(0.08), False),
        (LOST, Goal(0.08), False),
    ],
)
def test_satisfies(one: LadderStep, goal: Goal, expected: bool) -> None:
    assert satisfies(one, goal) is expected


SMALLER = MethodCandidate("rtn", {"group_size": 32})


@pytest.mark.parametrize(
    ("candidate", "steps", "goal", "why"),
    [
        (SMALLER, [RTN], Goal(0.05), "rtn lost +30.0%, more than 4 times the goal"),
        (SMALLER, [RTN], Goal(0.08), ""),
        (SMALLER, [], Goal(0.05), ""),
        (SMALLER, [LOST, WILD], Goal(0.05), ""),
        (MethodCandidate("awq", {"group_size": 64}), [RTN], Goal(0.01), ""),  # another method may do better
        (MethodCandidate("rtn", note="another way"), [RTN], Goal(0.01), ""),
        # the best of the method counts
        (SMALLER, [RTN, step("rtn", 0.19, 0.45, 0.7)], Goal(0.05), ""),
    ],
)
def test_a_variation_of_what_lost_far_too_much_is_not_tried(
    candidate: MethodCandidate, steps: list[LadderStep], goal: Goal, why: str
) -> None:
    assert hopeless(candidate, steps, goal) == why


@pytest.mark.parametrize(
    ("steps", "goal", "chosen", "satisfied"),
    [
        ([RTN, AWQ], Goal(0.08), AWQ, True),
        ([AWQ], Goal(0.08), AWQ, True),
        ([RTN, AWQ, GPTQ], Goal(0.05), GPTQ, True),
        ([RTN, LOST, WILD, INT8], Goal(0.02), INT8, True),
        ([RTN, AWQ, GPTQ], Goal(0.001), GPTQ, False),  # the nearest in perplexity
        ([AWQ, GPTQ], Goal(0.05, "speed"), GPTQ, False),  # within the perplexity, though slower
        ([RTN, WILD], Goal(0.01), RTN, False),  # what cannot be trusted is not chosen
        ([LOST, WILD], Goal(0.01), None, False),
        ([], Goal(0.01), None, False),
    ],
)
def test_decide(steps: list[LadderStep], goal: Goal, chosen: LadderStep | None, satisfied: bool) -> None:
    decision = decide(steps, goal)

    assert (decision.chosen, decision.satisfied) == (chosen, satisfied)


@pytest.mark.parametrize(
    ("steps", "goal", "why"),
    [
        (
            [RTN, AWQ],
            Goal(0.08),
            "awq: the first of 2 steps with at most +8.0% perplexity "
            "(+6.0% perplexity, ×0.43 size, ×1.10 speed at 1, ×0.70 speed at 32)",
        ),
        (
            [INT8],
            Goal(0.05, "speed"),
            "int8: the cheapest with at most +5.0% perplexity and no slower than the base in a batch "
            "(+1.0% perplexity, ×0.65 size, ×1.10 speed at 1, ×1.20 speed at 32)",
        ),
        (
            [RTN],
            Goal(0.05),
            "no step with at most +5.0% perplexity; rtn is the nearest in perplexity "
            "(+30.0% perplexity, ×0.43 size, ×1.10 speed at 1, ×0.70 speed at 32)",
        ),
        ([LOST], Goal(0.05), "no step with at most +5.0% perplexity: none could be measured"),
    ],
)
def test_the_reason_is_told_with_its_figures(steps: list[LadderStep], goal: Goal, why: str) -> None:
    assert decide(steps, goal).why == why


def test_the_front_leaves_out_what_another_beats_in_everything() -> None:
    # awq is as small and fast as rtn and better; int8 is larger, but better and faster
    assert pareto([RTN, AWQ, GPTQ, INT8, WILD, LOST]) == (AWQ, GPTQ, INT8)


def test_equal_steps_do_not_beat_each_other() -> None:
    assert not dominates(AWQ, replace(AWQ, directory="other"))
    assert len(pareto([AWQ, replace(AWQ, directory="other")])) == 2
