"""The command line: quantserve quantize model | run | gate | promote | … (--help lists them all)."""

from __future__ import annotations

import quantserve.core.interrupt  # noqa: F401  before all that takes a while

# isort: split
import typer

from quantserve.core.console import run_app
from quantserve.quantize.gate.command import gate
from quantserve.quantize.importing.command import import_
from quantserve.quantize.ladder.command import auto
from quantserve.quantize.lifecycle import command as lifecycle_command
from quantserve.quantize.models.command import model
from quantserve.quantize.run_command import run

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _root() -> None:
    """From a checkpoint to a quantized artifact that has proved itself in the engine that serves it."""


app.command("model")(model)
app.command("run")(run)
app.command("import")(import_)
app.command("gate")(gate)
app.command("auto")(auto)
app.command("promote")(lifecycle_command.promote)
app.command("rollback")(lifecycle_command.rollback)
app.command("list")(lifecycle_command.list_artifacts)
app.command("show")(lifecycle_command.show)
app.command("verify")(lifecycle_command.verify)
app.command("diff")(lifecycle_command.diff)
app.command("gc")(lifecycle_command.gc)
app.command("pull")(lifecycle_command.pull)
app.command("push")(lifecycle_command.push)
app.command("export")(lifecycle_command.export)
app.command("convert")(lifecycle_command.convert)


if __name__ == "__main__":
    run_app(app, "quantize")
