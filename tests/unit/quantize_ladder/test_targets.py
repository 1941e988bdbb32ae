from __future__ import annotations

from quantserve.quantize.ladder.bench import GIB, check_targets
from quantserve.quantize.ladder.decision import LadderStep, MethodCandidate


def step(method: str, ppl: float, top1: float, seconds: float, batch: float) -> LadderStep:
    candidate = MethodCandidate(method)
    return LadderStep(candidate, method, "ACCEPT", ppl, top1, 0.5, {1: 1.0, 32: batch}, seconds, 3 * GIB)


def test_every_target_is_met_or_missed_by_its_figure() -> None:
    steps = [
        step("rtn", 0.30, 0.70, 5.0, 0.8),
        step("awq", 0.075, 0.86, 181.0, 0.8),
        step("gptq", 0.10, 0.84, 90.0, 0.8),
        step("int8", 0.012, 0.95, 3.0, 0.99),
    ]

    found = {one.target: (one.figure, one.met) for one in check_targets(steps)}

    assert found == {
        "GPTQ within 90 s": ("90 s", True),
        "AWQ within 180 s": ("181 s", False),
        "peak memory under 4 GiB": ("3.00 GiB", True),
        "best 4-bit recipe at most +8 % perplexity": ("+7.5% (awq)", True),
        "best 4-bit recipe at least 85 % top-1 agreement": ("86.0%", True),
        "INT8 at most +1.5 % perplexity": ("+1.2% (int8)", True),
        "INT8 not slower than 16 bits at 32 concurrent": ("×0.99", False),
    }


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert {one.met for one in check_targets([])} == {None}
