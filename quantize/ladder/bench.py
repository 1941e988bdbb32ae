"""The figures of every method over one model, and which targets they meet: `make bench-quantize`.

    python -m quantserve.quantize.ladder.bench [--model models/NAME] [--methods rtn,awq,gptq,int8]

What was made and judged before is found again; its figures are those of that time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from quantserve.core.console import console, emit_json, run_app, styled
from quantserve.core.errors import UsageError
from quantserve.quantize.config import CalibrationOptions, QuantizeOptions
from quantserve.quantize.gate.case import GateLimits
from quantserve.quantize.gate.measure.config import GateConfig
from quantserve.quantize.ladder.decision import SHARES, LadderStep, MethodCandidate
from quantserve.quantize.ladder.sensitivity import layer_losses
from quantserve.quantize.ladder.steps import real_actions, step_json, table, take_step
from quantserve.quantize.methods.registry import METHODS, default_target

GIB = 1 << 30
_RUN = QuantizeOptions()
_LINES = (
    MethodCandidate("rtn"),
    MethodCandidate("awq"),
    MethodCandidate("gptq"),
    MethodCandidate("gptq", {"symmetric": True}, note="symmetric"),
    MethodCandidate("gptq", {}, max(SHARES)),
    MethodCandidate("int8", {"smoothing": 0.0, "feedback": False}, note="rounded"),
    MethodCandidate("int8", {"feedback": False}, note="smoothed"),
    MethodCandidate("fp8"),
)
_MARKS = {
    True: styled(("met", "green")),
    False: styled(("MISSED", "bold red")),
    None: styled(("unknown", "dim")),
}
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class TargetCheck:
    """One target: what was asked, the figure that comes closest, and whether it meets it (None: unknown)."""

    target: str
    figure: str
    met: bool | None


def check_targets(steps: Sequence[LadderStep]) -> tuple[TargetCheck, ...]:
    """Hold measured steps against the targets."""
    four, eight = _best(steps, "gptq", "awq"), _best(steps, "int8")
    peak = max((step.peak_memory_bytes or 0 for step in steps), default=0)
    by_four, by_eight = (f" ({best.candidate.label})" if best else "" for best in (four, eight))
    most: tuple[tuple[str, float | None, float, str], ...] = (
        ("GPTQ within 90 s", _seconds(steps, "gptq"), 90.0, "{:.0f} s"),
        ("AWQ within 180 s", _seconds(steps, "awq"), 180.0, "{:.0f} s"),
        ("peak memory under 4 GiB", peak / GIB if peak else None, 4.0, "{:.2f} GiB"),
        (
            "best 4-bit recipe at most +8 % perplexity",
            four.ppl_increase if four else None,
            0.08,
            "{:+.1%}" + by_four,
        ),
        (
            "INT8 at most +1.5 % perplexity",
            eight.ppl_increase if eight else None,
            0.015,
            "{:+.1%}" + by_eight,
        ),
    )
    least: tuple[tuple[str, float | None, float, str], ...] = (
        (
            "best 4-bit recipe at least 85 % top-1 agreement",
            four.top1_agreement if four else None,
            0.85,
            "{:.1%}",
        ),
        (
            "INT8 not slower than 16 bits at 32 concurrent",
            eight.speeds.get(32) if eight else None,
            1.0,
            "×{:.2f}",
        ),
    )
    return tuple(
        TargetCheck(target, "not measured", None)
        if value is None
        else TargetCheck(target, form.format(value), sign * value <= sign * limit)
        for sign, rows in ((1, most), (-1, least))
        for target, value, limit, form in rows
    )


def _best(steps: Sequence[LadderStep], *methods: str) -> LadderStep | None:
    measured = [step for step in steps if step.candidate.method in methods and step.measured]
    return min(measured, key=lambda step: step.ppl_increase or 0.0, default=None)


def _seconds(steps: Sequence[LadderStep], method: str) -> float | None:
    times = (step.seconds for step in steps if step.candidate.method == method)
    return max((seconds for seconds in times if seconds is not None), default=None)


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
    do = real_actions(
        text,
        QuantizeOptions(model=model, artifacts_dir=artifacts_dir, run_dir=run_dir, target=target),
        GateConfig(models_dir=model.parent, run_dir=run_dir),
        lambda: layer_losses(model, text, run_dir),
        force=force,
    )
    steps = [take_step(line, GateLimits(), do) for line in _LINES if line.method in wanted]
    console.print(table(steps))
    for step in steps:
        if step.directory is None:
            console.print(f"{step.candidate.label}: {step.problem}", soft_wrap=True)
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
