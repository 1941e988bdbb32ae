"""The climb with the making and judging handed in: which steps are taken, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quantserve.core.errors import ResourceError, UsageError
from quantserve.quantize.artifact import Manifest, now
from quantserve.quantize.cli.gate import summary
from quantserve.quantize.gate.case import GateLimits
from quantserve.quantize.ladder.decision import Goal, MethodCandidate
from quantserve.quantize.ladder.steps import StepActions, climb

LADDER = (
    MethodCandidate("rtn", {"group_size": 64}),
    MethodCandidate("gptq", {"group_size": 32}),
    MethodCandidate("gptq", {"group_size": 32}, 0.5),
    MethodCandidate("int8"),
)


class Workshop:
    """Makes nothing and judges by a table of perplexity increases."""

    def __init__(self, increases: dict[str, float], fails: dict[str, Exception] | None = None) -> None:
        self.increases = increases
        self.fails = fails or {}
        self.made: list[tuple[str, dict[str, Any]]] = []
        self.limits: list[GateLimits] = []
        self.asked = 0

    def make(self, method: str, options: dict[str, Any]) -> tuple[Path, Manifest]:
        if method in self.fails:
            raise self.fails[method]
        self.made.append((method, options))
        name = f"{method}-mixed" if "precision_override" in options else method
        manifest = Manifest(
            name="tiny",
            version=name,
            key=name,
            created=now(),
            method=method,
            bits=4,
            parameters={},
            base=None,
            seconds=12.0,
            peak_memory_bytes=10**9,
            files={},
        )
        return Path(name), manifest

    def judge(self, directory: Path, limits: GateLimits) -> dict[str, Any]:
        self.limits.append(limits)
        increase = self.increases[directory.name]
        return {
            "verdict": "ACCEPT" if increase <= (limits.max_ppl_increase or 0) else "REGRESSION",
            "reasons": [],
            "figures": {"perplexity_ratio": {"value": 1 + increase}, "top1_agreement": {"value": 0.9}},
            "speed": {"pairs": [{"concurrency": 32, "ratio": 0.8}]},
            "base": {"weight_bytes": 100},
            "candidate": {"weight_bytes": 40},
        }

    def losses(self) -> list[float]:
        self.asked += 1
        return [0.1, 0.3, 0.2, 0.4]

    def doing(self) -> StepActions:
        return StepActions(self.make, self.judge, self.losses)


def test_the_climb_ends_at_the_first_step_that_satisfies() -> None:
    shop = Workshop({"rtn": 0.3, "gptq": 0.04})

    done = climb(LADDER, Goal(0.05), shop.doing())

    assert [method for method, _ in shop.made] == ["rtn", "gptq"]
    assert done.decision.satisfied is True
    assert shop.asked == 0  # the sensitivity pass is only paid for where it is needed
    assert {limits.max_ppl_increase for limits in shop.limits} == {0.05}


def test_the_worst_layers_are_found_when_their_step_comes() -> None:
    shop = Workshop({"rtn": 0.3, "gptq": 0.2, "gptq-mixed": 0.04})

    done = climb(LADDER, Goal(0.05), shop.doing())

    assert shop.made[-1] == ("gptq", {"group_size": 32, "precision_override": ("layers.1=8", "layers.3=8")})
    assert done.decision.chosen is not None
    assert done.decision.chosen.candidate.label == "gptq, group 32, worst 50% in 8 bits"


def test_a_method_this_model_does_not_take_is_left_out() -> None:
    shop = Workshop({"rtn": 0.3, "int8": 0.01}, {"gptq": UsageError("gptq knows no such layers")})

    done = climb(LADDER, Goal(0.05), shop.doing())

    assert [step.problem for step in done.steps] == ["", *["gptq knows no such layers"] * 2, ""]
    assert done.decision.satisfied is True


def test_what_has_no_hope_is_left_out_with_the_reason() -> None:
    shop = Workshop({"rtn": 0.3, "gptq": 0.21, "int8": 0.01})

    done = climb(LADDER, Goal(0.05), shop.doing())

    assert done.steps[2].problem == "gptq, group 32 lost +21.0%, more than 4 times the goal"
    assert [method for method, _ in shop.made] == ["rtn", "gptq", "int8"]


def test_a_machine_that_is_too_small_ends_the_climb() -> None:
    shop = Workshop({}, {"rtn": ResourceError("no memory")})

    with pytest.raises(ResourceError, match="no memory"):
        climb(LADDER, Goal(0.05), shop.doing())


def test_programs_are_told_every_step_and_the_choice() -> None:
    told = summary(climb(LADDER[:2], Goal(0.01), Workshop({"rtn": 0.3, "gptq": 0.04}).doing()))

    assert (told["artifact"], told["candidate"], told["satisfied"]) == ("gptq", "gptq, group 32", False)
    first = told["steps"][0]
    assert first == {
        "candidate": "rtn, group 64",
        "directory": "rtn",
        "verdict": "REGRESSION",
        "ppl_increase": pytest.approx(0.3),
        "top1_agreement": 0.9,
        "size_ratio": 0.4,
        "speeds": {"32": 0.8},
        "seconds": 12.0,
        "peak_memory_bytes": 10**9,
        "problem": "",
    }
