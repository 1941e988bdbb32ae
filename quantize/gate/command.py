"""`quantize gate`: judge an artifact in the engine that will serve it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from quantserve.core.console import console, emit_json
from quantserve.quantize.artifact import PAGE, REPORT
from quantserve.quantize.gate.config import GateConfig
from quantserve.quantize.gate.run import Limits, Outcome, gate_artifact
from quantserve.quantize.gate.tasks import TaskPlan

_CONFIG = GateConfig()
_AS_FRACTION = "; a fraction, or with a percent sign. Default: by bits and model size"


def fraction(text: str) -> float:
    """Read 0.05 or 5% as 0.05."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a fraction such as 0.05 or 5%") from error


def gate(
    artifact: Annotated[Path, typer.Argument(help="Artifact directory, artifacts/NAME/VERSION")],
    base: Annotated[
        Path | None, typer.Option(help="The checkpoint it was made from; default: models/NAME")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Measure again, the base too")] = False,
    max_ppl_increase: Annotated[
        float | None, typer.Option(parser=fraction, help="Highest perplexity increase" + _AS_FRACTION)
    ] = None,
    max_mean_kl: Annotated[float | None, typer.Option(help="Highest mean KL divergence, nats")] = None,
    min_top1_agreement: Annotated[
        float | None, typer.Option(parser=fraction, help="Lowest top-1 agreement" + _AS_FRACTION)
    ] = None,
    max_size_ratio: Annotated[float | None, typer.Option(help="Highest size of the weights, ×base")] = None,
    max_new_bad_answers: Annotated[
        int | None, typer.Option(help="Chat answers that may be ill-formed where the base's are not")
    ] = None,
    max_divergence: Annotated[
        float | None,
        typer.Option(
            parser=fraction,
            help="How much likelier than in the base itself a greedy token may be the first that differs"
            + _AS_FRACTION,
        ),
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(help="Significance of fewer right answers to short prompts")
    ] = None,
    max_answer_length_ratio: Annotated[
        float | None, typer.Option(help="Highest length of the chat answers, ×base")
    ] = None,
    min_speed_ratio: Annotated[
        float | None, typer.Option(help="Lowest output speed, ×base; default: reported, not judged")
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(help="Benchmark tasks of lm-evaluation-harness, comma-separated (needs .venvs/eval)"),
    ] = None,
    tasks_dir: Annotated[Path | None, typer.Option(help="Folder with task definitions of your own")] = None,
    tasks_limit: Annotated[int | None, typer.Option(help="Examples of each task; default: all")] = None,
    models_dir: Annotated[Path, typer.Option(help="Where base checkpoints are")] = _CONFIG.models_dir,
    run_dir: Annotated[Path, typer.Option(help="Where logs and cached figures are kept")] = _CONFIG.run_dir,
) -> None:
    """Judge an artifact against its base: ACCEPT 0, REGRESSION 3, ANOMALOUS 4, INFEASIBLE 5."""
    limits = Limits(
        max_ppl_increase,
        max_mean_kl,
        min_top1_agreement,
        max_size_ratio,
        max_new_bad_answers,
        min_speed_ratio,
        max_divergence,
        min_p,
        max_answer_length_ratio,
    )
    config = GateConfig(models_dir=models_dir, run_dir=run_dir)
    plan = TaskPlan(tuple(tasks.split(",")), tasks_dir, tasks_limit) if tasks else None
    outcome = gate_artifact(artifact, base, config, limits, tasks=plan, force=force)
    if outcome.unchanged:
        console.print(f"unchanged: {outcome.verdict} {artifact} (report of {outcome.report['created']})")
    emit_json(_summary(artifact, outcome))
    raise typer.Exit(outcome.verdict.exit_code)


def _counts(facts: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what the short prompts came to, without the answers."""
    return None if facts is None else {name: value for name, value in facts.items() if name != "answers"}


def _summary(artifact: Path, outcome: Outcome) -> dict[str, object]:
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
