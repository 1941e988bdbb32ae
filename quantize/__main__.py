"""The command line: quantserve quantize model | run | gate | promote | … (--help lists them all)."""

from __future__ import annotations

import quantserve.core.interrupt  # noqa: F401  before all that takes a while

# isort: split
import typer

from quantserve.core.console import run_app
from quantserve.quantize.cli import artifacts
from quantserve.quantize.cli.gate import auto, gate
from quantserve.quantize.cli.quantization import import_, model, run

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _root() -> None:
    """From a checkpoint to a quantized artifact that has proved itself in the engine that serves it."""


app.command("model")(model)
app.command("run")(run)
app.command("import")(import_)
app.command("gate")(gate)
app.command("auto")(auto)
app.command("promote")(artifacts.promote)
app.command("rollback")(artifacts.rollback)
app.command("list")(artifacts.list_artifacts)
app.command("show")(artifacts.show)
app.command("verify")(artifacts.verify)
app.command("diff")(artifacts.diff)
app.command("gc")(artifacts.gc)
app.command("pull")(artifacts.pull)
app.command("push")(artifacts.push)
app.command("export")(artifacts.export)
app.command("convert")(artifacts.convert)


if __name__ == "__main__":
    run_app(app, "quantize")
