"""`quantize auto`: make and gate candidates until one is good enough."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quantserve.core.console import emit_json
from quantserve.core.errors import UsageError
from quantserve.quantize.config import CalibrationOptions, RunOptions
from quantserve.quantize.gate.command import fraction
from quantserve.quantize.gate.config import GateConfig
from quantserve.quantize.ladder.candidates import PREFERENCES, candidates
from quantserve.quantize.methods import METHODS
from quantserve.quantize.methods.targets import check_target, default_target
from quantserve.quantize.models.checks import check_checkpoint
from quantserve.quantize.models.structure import structure_of

if TYPE_CHECKING:
    from quantserve.quantize.ladder.climb import Climb
    from quantserve.quantize.ladder.decide import Step

_RUN = RunOptions()
_CALIBRATION = CalibrationOptions()


def auto(
    max_ppl_increase: Annotated[
        float, typer.Option(parser=fraction, help="Highest perplexity increase, such as 5% or 0.05")
    ],
    model: Annotated[Path, typer.Option(help="Base checkpoint directory")] = _RUN.model,
    prefer: Annotated[
        str | None,
        typer.Option(
            help="speed: 8 bits first, and no slower than the base in a batch; memory: 4 bits first. "
            "Default: the cheapest to make first"
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="cpu or cuda, where it will serve; default: what this machine has")
    ] = _RUN.target,
    calibration: Annotated[
        list[str] | None, typer.Option(metavar="SOURCE[:WEIGHT]", help="As for quantize run")
    ] = None,
    artifacts_dir: Annotated[Path, typer.Option(help="Where artifacts are kept")] = _RUN.artifacts_dir,
    run_dir: Annotated[Path, typer.Option(help="Where logs and state are kept")] = _RUN.run_dir,
    force: Annotated[bool, typer.Option("--force", help="Measure again what was judged before")] = False,
) -> None:
    """Try methods, cheapest first; stop at the first that the gate accepts within the goal.

    What was made or judged before is found again, so a run that was ended goes on. Exit code 0 when the goal
    is reached, 3 when the choice is only the nearest.
    """
    from quantserve.quantize.gate.verdict import Verdict
    from quantserve.quantize.ladder.climb import climb
    from quantserve.quantize.ladder.decide import Goal
    from quantserve.quantize.ladder.sensitivity import layer_losses
    from quantserve.quantize.ladder.steps import doing

    if prefer is not None and prefer not in PREFERENCES:
        raise UsageError(f"--prefer {prefer} is unknown", mend=f"Choose {' or '.join(PREFERENCES)}")
    chosen_target = target or default_target()
    check_target(chosen_target)
    where = RunOptions(model=model, artifacts_dir=artifacts_dir, run_dir=run_dir, target=chosen_target)
    text = CalibrationOptions(sources=tuple(calibration or _CALIBRATION.sources))
    config = GateConfig(models_dir=model.parent, run_dir=run_dir)
    checkpoint = check_checkpoint(model)
    sizes = {tensor.shape[1] for tensor in structure_of(checkpoint, run_dir).tensors().values()}
    goal = Goal(max_ppl_increase, next((one for one in PREFERENCES if one == prefer), None))
    done = climb(
        candidates(METHODS, sizes, chosen_target, goal.prefer),
        goal,
        doing(text, where, config, lambda: layer_losses(model, text, run_dir), force=force),
    )
    emit_json(summary(done))
    raise typer.Exit(0 if done.decision.satisfied else Verdict.REGRESSION.exit_code)


def summary(done: Climb) -> dict[str, Any]:
    """Return the climb for programs."""
    chosen = done.decision.chosen
    return {
        "artifact": None if chosen is None else chosen.directory,
        "candidate": None if chosen is None else chosen.candidate.label,
        "satisfied": done.decision.satisfied,
        "why": done.decision.why,
        "steps": [step_json(step) for step in done.steps],
    }


def step_json(step: Step) -> dict[str, Any]:
    """Return one step for programs."""
    return {
        **dataclasses.asdict(step),
        "candidate": step.candidate.label,
        "speeds": {str(at): ratio for at, ratio in step.speeds.items()},
    }
