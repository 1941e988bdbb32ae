"""Which candidates there are, when a step is good enough, and which one is taken in the end. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Prefer = Literal["speed", "memory"]
PREFERENCES: tuple[Prefer, ...] = ("speed", "memory")
GROUP_SIZES = (128, 64, 32)
SHARES = (0.1, 0.25)
"""Of the layers, how many get 8 bits: first a tenth, then a quarter."""
_AS_FAST = 0.97
"""A speed within 3 % of the base's counts as no slower, as in the gate's sentence on speed."""
_HOPELESS = 4.0
"""A method that lost this many times the goal does not reach it by smaller groups or a quarter of its layers
in 8 bits: on SmolLM2-135M, groups of 32 in place of 64 won back a quarter of AWQ's loss (+13 to +10 %)."""


@dataclass(frozen=True)
class MethodCandidate:
    """One step: a method with its options. `override_share` of the layers, the worst ones, get 8 bits."""

    method: str
    options: dict[str, Any] = field(default_factory=dict)
    override_share: float = 0.0
    note: str = ""

    @property
    def label(self) -> str:
        """A short name for tables."""
        words = [self.method]
        if "group_size" in self.options:
            words.append(f"group {self.options['group_size']}")
        if self.note:
            words.append(self.note)
        if self.override_share:
            words.append(f"worst {self.override_share:.0%} in 8 bits")
        return ", ".join(words)


def fitting_groups(input_sizes: Collection[int]) -> tuple[int, ...]:
    """Return the group sizes that divide every layer's input size, the largest first."""
    return tuple(size for size in GROUP_SIZES if all(inner % size == 0 for inner in input_sizes))


def candidates(
    methods: Collection[str], input_sizes: Collection[int], target: str, prefer: Prefer | None
) -> tuple[MethodCandidate, ...]:
    """Return the steps in the order in which they are tried.

    methods: those that are registered. input_sizes: of all linear layers. target: cpu or cuda.
    Cheap to make comes first: rounding takes seconds, AWQ and GPTQ pass text through the model, 8 bits
    in the worst layers needs the sensitivity pass as well. 8 bits everywhere comes last, for it saves
    half as much, unless speed is preferred: 8-bit activations are what makes a batch faster.
    """
    groups = fitting_groups(input_sizes)
    four: list[MethodCandidate] = []
    if groups:
        four = [MethodCandidate(name, {"group_size": groups[0]}) for name in ("rtn", "awq", "gptq")]
        four += [
            MethodCandidate(name, {"group_size": size})
            for size in groups[1:]
            for name in ("rtn", "awq", "gptq")
        ]
        four += [MethodCandidate("gptq", {"group_size": groups[-1]}, share) for share in SHARES]
    eight = [
        MethodCandidate("int8", {"smoothing": 0.0, "feedback": False}, note="rounded"),
        MethodCandidate("int8", {"feedback": False}, note="smoothed"),
        MethodCandidate("int8", note="smoothed, with feedback"),
    ]
    if target == "cuda":
        eight = [MethodCandidate("fp8"), *eight]
    ordered = [*eight, *four] if prefer == "speed" else [*four, *eight]
    return tuple(one for one in ordered if one.method in methods)


def worst_layers(losses: Sequence[float], share: float) -> tuple[int, ...]:
    """Return the numbers of the layers that lose most, `share` of all, at least one."""
    count = max(1, math.ceil(share * len(losses)))
    ranked = sorted(range(len(losses)), key=lambda layer: (-losses[layer], layer))
    return tuple(sorted(ranked[:count]))


def with_overrides(candidate: MethodCandidate, losses: Sequence[float]) -> dict[str, Any]:
    """Return the candidate's options with the worst layers in 8 bits."""
    overrides = tuple(f"layers.{layer}=8" for layer in worst_layers(losses, candidate.override_share))
    return {**candidate.options, "precision_override": overrides}


@dataclass(frozen=True)
class LadderStep:
    """A candidate that was made and judged, or could not be; unknown is None.

    size_ratio: weights over the base's. speeds: output speed over the base's by concurrency.
    seconds, peak_memory_bytes: what making it took. problem: why there are no figures.
    """

    candidate: MethodCandidate
    directory: str | None
    verdict: str | None
    ppl_increase: float | None
    top1_agreement: float | None
    size_ratio: float | None
    speeds: dict[int, float]
    seconds: float | None = None
    peak_memory_bytes: int | None = None
    problem: str = ""

    @property
    def measured(self) -> bool:
        """Whether there are figures that can be trusted."""
        return self.verdict in ("ACCEPT", "REGRESSION") and self.ppl_increase is not None

    @property
    def batch_speed(self) -> float | None:
        """The speed over the base's at the highest concurrency."""
        return self.speeds[max(self.speeds)] if self.speeds else None


@dataclass(frozen=True)
class Goal:
    """What is asked for: `max_ppl_increase` is a fraction, 0.05 is +5 %."""

    max_ppl_increase: float
    prefer: Prefer | None = None


@dataclass(frozen=True)
class Decision:
    """The choice; `satisfied` is False when it is only the nearest."""

    chosen: LadderStep | None
    satisfied: bool
    why: str


def satisfies(step: LadderStep, goal: Goal) -> bool:
    """Whether the gate accepts the step within the goal and, where speed is preferred, it is no slower."""
    if step.verdict != "ACCEPT" or step.ppl_increase is None:
        return False
    if step.ppl_increase > goal.max_ppl_increase:
        return False
    return goal.prefer != "speed" or (step.batch_speed is not None and step.batch_speed >= _AS_FAST)


def hopeless(candidate: MethodCandidate, steps: Sequence[LadderStep], goal: Goal) -> str:
    """Say why a variation of a method tried before cannot reach the goal; empty when it may."""
    if "group_size" not in candidate.options:
        return ""
    same = [s for s in steps if s.candidate.method == candidate.method and s.ppl_increase is not None]
    if not same:
        return ""
    best = min(same, key=lambda step: step.ppl_increase or 0.0)
    loss = best.ppl_increase or 0.0
    if loss <= _HOPELESS * goal.max_ppl_increase:
        return ""
    return f"{best.candidate.label} lost {loss:+.1%}, more than {_HOPELESS:.0f} times the goal"


def dominates(one: LadderStep, other: LadderStep) -> bool:
    """Whether one is at least as good in quality, size and speed, and better in one of them."""
    a, b = _objectives(one), _objectives(other)
    return all(x <= y for x, y in zip(a, b, strict=True)) and a != b


def pareto(steps: Sequence[LadderStep]) -> tuple[LadderStep, ...]:
    """Return the measured steps that no other one beats in everything."""
    measured = [step for step in steps if step.measured]
    return tuple(step for step in measured if not any(dominates(other, step) for other in measured))


def decide(steps: Sequence[LadderStep], goal: Goal) -> Decision:
    """Choose among the steps taken so far: the first that satisfies, else the nearest.

    The nearest is never one that the gate could not trust; it is named so that the user may loosen the
    goal knowingly, not so that it is served.
    """
    asked = f"at most {goal.max_ppl_increase:+.1%} perplexity"
    if goal.prefer == "speed":
        asked += " and no slower than the base in a batch"
    for number, step in enumerate(steps, 1):
        if satisfies(step, goal) and step.ppl_increase is not None:
            story = "the cheapest" if number == 1 else f"the first of {number} steps"
            return Decision(
                step,
                True,
                f"{step.candidate.label}: {story} with {asked} ({_figures(step)})",
            )
    front = pareto(steps)
    if not front:
        return Decision(None, False, f"no step with {asked}: none could be measured")
    if goal.prefer == "speed":
        within = [s for s in front if s.ppl_increase is not None and s.ppl_increase <= goal.max_ppl_increase]
        nearest = max(within or front, key=lambda step: step.batch_speed or 0.0)
        how = "the fastest" if within else "the fastest of what was tried"
    else:
        nearest = min(front, key=lambda step: _objectives(step)[0])
        how = "the nearest in perplexity"
    return Decision(
        nearest, False, f"no step with {asked}; {nearest.candidate.label} is {how} ({_figures(nearest)})"
    )


def _objectives(step: LadderStep) -> tuple[float, float, float]:
    """Perplexity, size and slowness, each the less the better; unknown is worst."""
    return (
        step.ppl_increase if step.ppl_increase is not None else float("inf"),
        step.size_ratio if step.size_ratio is not None else float("inf"),
        -(step.batch_speed or 0.0),
    )


def _figures(step: LadderStep) -> str:
    parts = [] if step.ppl_increase is None else [f"{step.ppl_increase:+.1%} perplexity"]
    if step.size_ratio is not None:
        parts.append(f"×{step.size_ratio:.2f} size")
    parts += [f"×{ratio:.2f} speed at {at}" for at, ratio in sorted(step.speeds.items())]
    return ", ".join(parts)
