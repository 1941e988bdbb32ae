"""Climb the ladder: make a candidate, have the gate judge it, step after step until one satisfies.

Each step is content-keyed, so one that was taken before is found again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from quantserve.core.console import console, styled
from quantserve.core.errors import InputError, UsageError
from quantserve.core.sizes import decimal_size
from quantserve.quantize.artifact import Manifest
from quantserve.quantize.config import CalibrationOptions, QuantizeOptions
from quantserve.quantize.gate.case import GateLimits
from quantserve.quantize.gate.measure.config import GateConfig
from quantserve.quantize.gate.run import gate_artifact
from quantserve.quantize.ladder.decision import (
    Decision,
    Goal,
    LadderStep,
    MethodCandidate,
    decide,
    hopeless,
    pareto,
    satisfies,
    with_overrides,
)
from quantserve.quantize.methods.registry import METHODS, default_target, make_options
from quantserve.quantize.run import run

Make = Callable[[str, dict[str, Any]], tuple[Path, Manifest]]
"""A method's name and options to an artifact, made now or before."""
Judge = Callable[[Path, GateLimits], dict[str, Any]]
"""An artifact and limits to the gate's report."""
Losses = Callable[[], list[float]]
"""What each layer loses when it alone is rounded to 4 bits."""


@dataclass(frozen=True)
class StepActions:
    """The three things a step does, handed in so that deciding can be tested without them."""

    make: Make
    judge: Judge
    losses: Losses


def real_actions(
    calibration: CalibrationOptions,
    where: QuantizeOptions,
    config: GateConfig,
    losses: Losses,
    *,
    force: bool,
) -> StepActions:
    """Return the real ones."""

    def make(method: str, options: dict[str, Any]) -> tuple[Path, Manifest]:
        chosen = METHODS[method]
        target = where.target or default_target()
        outcome = run(chosen, make_options(chosen, options, target), calibration, where)
        return outcome.directory, outcome.manifest

    def judge(directory: Path, limits: GateLimits) -> dict[str, Any]:
        return gate_artifact(directory, where.model, config, limits, force=force).report

    return StepActions(make, judge, losses)


def take_step(candidate: MethodCandidate, limits: GateLimits, do: StepActions) -> LadderStep:
    """Make and judge one candidate; what this model or engine cannot do is a step without figures.

    Raises:
        ResourceError, GateError: the machine or the base is the reason, so the next would fail too.
    """
    options = with_overrides(candidate, do.losses()) if candidate.override_share else candidate.options
    try:
        directory, manifest = do.make(candidate.method, options)
    except (UsageError, InputError) as error:
        return left_out(candidate, str(error))
    return read_step(candidate, directory, manifest, do.judge(directory, limits))


def left_out(candidate: MethodCandidate, why: str) -> LadderStep:
    """Return a step that was not made."""
    return LadderStep(candidate, None, None, None, None, None, {}, problem=why)


def read_step(
    candidate: MethodCandidate, directory: Path, manifest: Manifest, report: dict[str, Any]
) -> LadderStep:
    """Take the step's figures out of the gate's report."""
    figures, speed = report["figures"], report["speed"]
    base_bytes = report["base"]["weight_bytes"]
    return LadderStep(
        candidate=candidate,
        directory=str(directory),
        verdict=report["verdict"],
        ppl_increase=None if figures is None else figures["perplexity_ratio"]["value"] - 1,
        top1_agreement=None if figures is None else figures["top1_agreement"]["value"],
        size_ratio=report["candidate"]["weight_bytes"] / base_bytes if base_bytes else None,
        speeds={} if speed is None else {pair["concurrency"]: pair["ratio"] for pair in speed["pairs"]},
        seconds=manifest.seconds,
        peak_memory_bytes=manifest.peak_memory_bytes,
        problem="; ".join(report["reasons"]),
    )


@dataclass(frozen=True)
class Climb:
    """Every step taken, and the choice."""

    steps: tuple[LadderStep, ...]
    decision: Decision


def climb(candidates: Sequence[MethodCandidate], goal: Goal, do: StepActions) -> Climb:
    """Take steps until one satisfies the goal.

    Raises:
        ResourceError, GateError: from `take`; what was made and judged before is found again.
    """
    limits = GateLimits(max_ppl_increase=goal.max_ppl_increase)
    steps: list[LadderStep] = []
    for number, candidate in enumerate(candidates, 1):
        console.print(styled((f"step {number} of at most {len(candidates)}:", "bold"), f" {candidate.label}"))
        why_not = hopeless(candidate, steps, goal)
        steps.append(left_out(candidate, why_not) if why_not else take_step(candidate, limits, do))
        if steps[-1].problem and steps[-1].directory is None:
            console.print(f"  left out: {steps[-1].problem}", soft_wrap=True)
        if satisfies(steps[-1], goal):
            break
    decision = decide(steps, goal)
    console.print(table(steps, decision.chosen))
    console.print(decision.why, soft_wrap=True)
    return Climb(tuple(steps), decision)


def table(steps: Sequence[LadderStep], chosen: LadderStep | None = None) -> Table:
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


def step_json(step: LadderStep) -> dict[str, Any]:
    """Return one step for programs."""
    return {
        **dataclasses.asdict(step),
        "candidate": step.candidate.label,
        "speeds": {str(at): ratio for at, ratio in step.speeds.items()},
    }
