"""The figures of every method over one model, and which targets they meet: `make bench-quantize`.

    python -m quantserve.quantize.ladder.bench [--model models/NAME] [--methods rtn,awq,gptq,int8]

What was made and judged before is found again; its figures are those of that time.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from quantserve.core.console import console, emit_json, run_app, styled
from quantserve.core.errors import UsageError
from quantserve.quantize.config import CalibrationOptions, RunOptions
from quantserve.quantize.gate.config import GateConfig
from quantserve.quantize.gate.run import Limits
from quantserve.quantize.ladder.candidates import SHARES, Candidate
from quantserve.quantize.ladder.climb import table
from quantserve.quantize.ladder.command import step_json
from quantserve.quantize.ladder.sensitivity import layer_losses
from quantserve.quantize.ladder.steps import doing, take
from quantserve.quantize.ladder.targets import check_targets
from quantserve.quantize.methods import METHODS
from quantserve.quantize.methods.targets import default_target

_RUN = RunOptions()
_LINES = (
    Candidate("rtn"),
    Candidate("awq"),
    Candidate("gptq"),
    Candidate("gptq", {"symmetric": True}, note="symmetric"),
    Candidate("gptq", {}, max(SHARES)),
    Candidate("int8", {"smoothing": 0.0, "feedback": False}, note="rounded"),
    Candidate("int8", {"feedback": False}, note="smoothed"),
    Candidate("fp8"),
)
_MARKS = {
    True: styled(("met", "green")),
    False: styled(("MISSED", "bold red")),
    None: styled(("unknown", "dim")),
}
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def bench(
    model: Annotated[Path, typer.Option(help="Base checkpoint directory")] = _RUN.model,
    methods: Annotated[str | None, typer.Option(help="Comma-separated; default: all that load here")] = None,
    artifacts_dir: Annotated[Path, typer.Option(help="Where artifacts are kept")] = _RUN.artifacts_dir,
    run_dir: Annotated[Path, typer.Option(help="Where logs and state are kept")] = _RUN.run_dir,
    force: Annotated[bool, typer.Option("--force", help="Measure again what was judged before")] = False,
) -> None:
    """Make and gate every method with its defaults; print the figures and the targets they meet."""
    target = default_target()
    wanted = set(methods.split(",")) if methods else {*METHODS} - ({"fp8"} if target == "cpu" else set())
    for name in sorted(wanted - {*METHODS}):
        raise UsageError(f"Unknown method {name!r}", mend=f"Choose among {', '.join(METHODS)}")
    text = CalibrationOptions()
    do = doing(
        text,
        RunOptions(model=model, artifacts_dir=artifacts_dir, run_dir=run_dir, target=target),
        GateConfig(models_dir=model.parent, run_dir=run_dir),
        lambda: layer_losses(model, text, run_dir),
        force=force,
    )
    steps = [take(line, Limits(), do) for line in _LINES if line.method in wanted and line.method in METHODS]
    console.print(table(steps))
    for step in steps:
        if step.directory is None:
            console.print(f"{step.candidate.label}: {step.problem}", markup=False, soft_wrap=True)
    met = check_targets(steps)
    targets = Table("target (two cores, SmolLM2-135M)", "measured", "", box=box.SIMPLE_HEAD)
    for one in met:
        targets.add_row(one.target, one.figure, _MARKS[one.met])
    console.print(targets)
    emit_json(
        {
            "model": str(model),
            "methods": [step_json(step) for step in steps],
            "targets": [dataclasses.asdict(one) for one in met],
        }
    )


if __name__ == "__main__":
    run_app(app, "bench-quantize")
