"""`quantize gate | auto`: judge an artifact in its engine; make and judge until one is good enough."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quantserve.core.console import console, emit_json
from quantserve.core.errors import UsageError
from quantserve.quantize.artifact import PAGE, REPORT
from quantserve.quantize.cli.options import derived, fraction
from quantserve.quantize.config import CalibrationOptions, QuantizeOptions
from quantserve.quantize.gate.case import GateLimits
from quantserve.quantize.gate.measure.config import GateConfig
from quantserve.quantize.ladder.decision import PREFERENCES, Goal, candidates
from quantserve.quantize.methods.registry import METHODS, settled_target
from quantserve.quantize.models.checks import check_checkpoint
from quantserve.quantize.models.structure import structure_of

if TYPE_CHECKING:  # help is shown where none of the libraries behind it are
    from quantserve.quantize.gate.run import GateOutcome
    from quantserve.quantize.ladder.steps import Climb


@derived
def gate(
    *,
    artifact: Annotated[Path, typer.Argument(help="Artifact directory, artifacts/NAME/VERSION")],
    base: Annotated[
        Path | None, typer.Option(help="The checkpoint it was made from; default: models/NAME")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Measure again, the base too")] = False,
    limits: GateLimits,
    tasks: Annotated[
        str | None,
        typer.Option(help="Benchmark tasks of lm-evaluation-harness, comma-separated (needs .venvs/eval)"),
    ] = None,
    tasks_dir: Annotated[Path | None, typer.Option(help="Folder with task definitions of your own")] = None,
    tasks_limit: Annotated[int | None, typer.Option(help="Examples of each task; default: all")] = None,
    config: Annotated[GateConfig, ("models_dir", "run_dir", "eval_python")],
) -> None:
    """Judge an artifact against its base: ACCEPT 0, REGRESSION 3, ANOMALOUS 4, INFEASIBLE 5.

    Limits are fractions, or have a percent sign; by default they follow from bits and model size.
    """
    from quantserve.quantize.gate.measure.tasks import TaskPlan
    from quantserve.quantize.gate.run import gate_artifact

    plan = TaskPlan(tuple(tasks.split(",")), tasks_dir, tasks_limit) if tasks else None
    outcome = gate_artifact(artifact, base, config, limits, tasks=plan, force=force)
    if outcome.unchanged:
        console.print(f"unchanged: {outcome.verdict} {artifact} (report of {outcome.report['created']})")
    emit_json(_summary(artifact, outcome))
    raise typer.Exit(outcome.verdict.exit_code)


def _counts(facts: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what the short prompts came to, without the answers."""
    return None if facts is None else {name: value for name, value in facts.items() if name != "answers"}


def _summary(artifact: Path, outcome: GateOutcome) -> dict[str, object]:
    report = outcome.report
    return {
        "verdict": outcome.verdict.value,
        "reasons": report["reasons"],
        "figures": report["figures"],
        "facts": _counts(report["facts"]),
        "speed": report["speed"],
        "report": str(artifact.resolve() / REPORT),
        "page": str(artifact.resolve() / PAGE),
        "key": report["key"],
        "unchanged": outcome.unchanged,
        "seconds": round(outcome.seconds, 2),
    }


@derived
def auto(
    *,
    max_ppl_increase: Annotated[
        float, typer.Option(parser=fraction, help="Highest perplexity increase, such as 5% or 0.05")
    ],
    where: Annotated[QuantizeOptions, ("model", "target", "artifacts_dir", "run_dir")],
    text: Annotated[CalibrationOptions, ("sources",)],
    prefer: Annotated[
        str | None,
        typer.Option(
            help="speed: 8 bits first, and no slower than the base in a batch; memory: 4 bits first. "
            "Default: the cheapest to make first"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Measure again what was judged before")] = False,
) -> None:
    """Try methods, cheapest first; stop at the first that the gate accepts within the goal.

    What was made or judged before is found again, so a run that was ended goes on. Exit code 0 when the goal
    is reached, 3 when the choice is only the nearest.
    """
    from quantserve.quantize.gate.judge.verdict import GateVerdict
    from quantserve.quantize.ladder.sensitivity import layer_losses
    from quantserve.quantize.ladder.steps import climb, real_actions

    if prefer is not None and prefer not in PREFERENCES:
        raise UsageError(f"--prefer {prefer} is unknown", mend=f"Choose {' or '.join(PREFERENCES)}")
    target = settled_target(where.target)
    checkpoint = check_checkpoint(where.model)
    sizes = {tensor.shape[1] for tensor in structure_of(checkpoint, where.run_dir).tensors().values()}
    goal = Goal(max_ppl_increase, next((one for one in PREFERENCES if one == prefer), None))
    config = GateConfig(models_dir=where.model.parent, run_dir=where.run_dir)
    done = climb(
        candidates(METHODS, sizes, target, goal.prefer),
        goal,
        real_actions(
            text, where, config, lambda: layer_losses(where.model, text, where.run_dir), force=force
        ),
    )
    emit_json(summary(done))
    raise typer.Exit(0 if done.decision.satisfied else GateVerdict.REGRESSION.exit_code)


def summary(done: Climb) -> dict[str, Any]:
    """Return the climb for programs."""
    from quantserve.quantize.ladder.steps import step_json

    chosen = done.decision.chosen
    return {
        "artifact": None if chosen is None else chosen.directory,
        "candidate": None if chosen is None else chosen.candidate.label,
        "satisfied": done.decision.satisfied,
        "why": done.decision.why,
        "steps": [step_json(step) for step in done.steps],
    }
