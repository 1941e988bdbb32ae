"""Climb the ladder: step after step until one satisfies, each shown as it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from quantserve.core.console import console, styled
from quantserve.core.sizes import decimal_size
from quantserve.quantize.gate.run import Limits
from quantserve.quantize.ladder.candidates import Candidate
from quantserve.quantize.ladder.decide import Decision, Goal, Step, decide, hopeless, pareto, satisfies
from quantserve.quantize.ladder.steps import Doing, left_out, take


@dataclass(frozen=True)
class Climb:
    """Every step taken, and the choice."""

    steps: tuple[Step, ...]
    decision: Decision


def climb(candidates: Sequence[Candidate], goal: Goal, do: Doing) -> Climb:
    """Take steps until one satisfies the goal.

    Raises:
        ResourceError, GateError: from `take`; what was made and judged before is found again.
    """
    limits = Limits(max_ppl_increase=goal.max_ppl_increase)
    steps: list[Step] = []
    for number, candidate in enumerate(candidates, 1):
        console.print(styled((f"step {number} of at most {len(candidates)}:", "bold"), f" {candidate.label}"))
        why_not = hopeless(candidate, steps, goal)
        steps.append(left_out(candidate, why_not) if why_not else take(candidate, limits, do))
        if steps[-1].problem and steps[-1].directory is None:
            console.print(f"  left out: {steps[-1].problem}", markup=False, soft_wrap=True)
        if satisfies(steps[-1], goal):
            break
    decision = decide(steps, goal)
    console.print(table(steps, decision.chosen))
    console.print(decision.why, markup=False, soft_wrap=True)
    return Climb(tuple(steps), decision)


def table(steps: Sequence[Step], chosen: Step | None = None) -> Table:
    """Return the steps as a table: quality, size, speed and what making them took.

    `◆` marks the steps that no other beats in quality, size and speed together, `←` the choice.
    """
    concurrencies = sorted({at for step in steps for at in step.speeds})
    found = Table(
        *("", "candidate", "verdict", "perplexity", "top-1", "size"),
        *(f"speed at {at}" for at in concurrencies),
        *("made in", "memory", ""),
        box=box.SIMPLE_HEAD,
    )
    front = pareto(steps)
    for step in steps:
        found.add_row(
            "◆" if step in front else "",
            step.candidate.label,
            step.verdict or "not made",
            _cell(step.ppl_increase, "+.1%"),
            _cell(step.top1_agreement, ".1%"),
            _cell(step.size_ratio, ".2f", "×"),
            *(_cell(step.speeds.get(at), ".2f", "×") for at in concurrencies),
            _cell(step.seconds, ".0f", end=" s"),
            "" if step.peak_memory_bytes is None else decimal_size(step.peak_memory_bytes),
            "←" if step is chosen else "",
        )
    return found


def _cell(value: float | None, form: str, start: str = "", end: str = "") -> str:
    return "" if value is None else f"{start}{value:{form}}{end}"
