"""The command line: python -m quantize model | run | gate | promote | rollback | list | show | verify."""

from __future__ import annotations

import typer

from core.console import run_app
from quantize.models.command import model

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _root() -> None:
    """From a checkpoint to a quantized artifact that has proved itself in the engine that serves it."""


app.command("model")(model)


if __name__ == "__main__":
    run_app(app, "quantize")
