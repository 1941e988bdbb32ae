"""One step: make a candidate through the run API and have the gate judge it. Each is content-keyed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantserve.core.errors import InputError, UsageError
from quantserve.quantize.artifact import Manifest
from quantserve.quantize.config import CalibrationOptions, RunOptions
from quantserve.quantize.gate.config import GateConfig
from quantserve.quantize.gate.run import Limits, gate_artifact
from quantserve.quantize.ladder.candidates import Candidate, with_kept
from quantserve.quantize.ladder.decide import Step
from quantserve.quantize.methods import METHODS, make_options
from quantserve.quantize.methods.targets import default_target
from quantserve.quantize.run import run

Make = Callable[[str, dict[str, Any]], tuple[Path, Manifest]]
"""A method's name and options to an artifact, made now or before."""
Judge = Callable[[Path, Limits], dict[str, Any]]
"""An artifact and limits to the gate's report."""
Losses = Callable[[], list[float]]
"""What each layer loses when it alone is rounded to 4 bits."""


@dataclass(frozen=True)
class Doing:
    """The three things a step does, handed in so that deciding can be tested without them."""

    make: Make
    judge: Judge
    losses: Losses


def doing(
    calibration: CalibrationOptions, where: RunOptions, config: GateConfig, losses: Losses, *, force: bool
) -> Doing:
    """Return the real ones."""

    def make(method: str, options: dict[str, Any]) -> tuple[Path, Manifest]:
        chosen = METHODS[method]
        target = where.target or default_target()
        outcome = run(chosen, make_options(chosen, options, target), calibration, where)
        return outcome.directory, outcome.manifest

    def judge(directory: Path, limits: Limits) -> dict[str, Any]:
        return gate_artifact(directory, where.model, config, limits, force=force).report

    return Doing(make, judge, losses)


def take(candidate: Candidate, limits: Limits, do: Doing) -> Step:
    """Make and judge one candidate; what this model or engine cannot do is a step without figures.

    Raises:
        ResourceError, GateError: the machine or the base is the reason, so the next would fail too.
    """
    options = with_kept(candidate, do.losses()) if candidate.keep_share else candidate.options
    try:
        directory, manifest = do.make(candidate.method, options)
    except (UsageError, InputError) as error:
        return left_out(candidate, str(error))
    return read_step(candidate, directory, manifest, do.judge(directory, limits))


def left_out(candidate: Candidate, why: str) -> Step:
    """Return a step that was not made."""
    return Step(candidate, None, None, None, None, None, {}, problem=why)


def read_step(candidate: Candidate, directory: Path, manifest: Manifest, report: dict[str, Any]) -> Step:
    """Take the step's figures out of the gate's report."""
    figures, speed = report["figures"], report["speed"]
    base_bytes = report["base"]["weight_bytes"]
    return Step(
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
