"""The command line: python -m quantize model | run | gate | promote | rollback | list | show | verify."""

from __future__ import annotations

import typer

from core.console import run_app
from quantize import lifecycle_command
from quantize.gate.command import gate
from quantize.models.command import model
from quantize.run_command import run

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _root() -> None:
    """From a checkpoint to a quantized artifact that has proved itself in the engine that serves it."""


app.command("model")(model)
app.command("run")(run)
app.command("gate")(gate)
app.command("promote")(lifecycle_command.promote)
app.command("rollback")(lifecycle_command.rollback)
app.command("list")(lifecycle_command.list_artifacts)
app.command("show")(lifecycle_command.show)
app.command("verify")(lifecycle_command.verify)


if __name__ == "__main__":
    run_app(app, "quantize")
