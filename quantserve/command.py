"""The command `quantserve`: every program of the project behind one name.

    quantserve up | ask | chat | web | status | logs | down | rollback | setup | doctor
    quantserve quantize … | serving … | rag … | benchmarks … | deploy …

It runs where only typer, rich and pydantic are installed. A program runs in the environment that has its
libraries, replacing this process; help and shell completion are made here, so that they need no environment.
"""

from __future__ import annotations

import quantserve.core.interrupt  # noqa: F401  before all that takes a while

# isort: split
import importlib
import os
import sys
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from quantserve import __version__
from quantserve.core.console import emit_text, run_app, run_reported
from quantserve.core.errors import ResourceError
from quantserve.core.home import VARIABLE, command_home, python_of


@dataclass(frozen=True)
class Program:
    """One package's command line.

    Attributes:
        environment: where it runs; empty means here.
        help: its line in `quantserve --help`.
    """

    environment: str
    help: str


PROGRAMS = {
    "quantize": Program("quantize", "From a checkpoint to an artifact that has proved itself in the engine."),
    "serving": Program("serving", "Serve a model with vLLM and look after it."),
    "rag": Program("rag", "Answers from your documents, with their sources."),
    "benchmarks": Program("rag", "Measure any OpenAI-compatible server."),
    "deploy": Program("", "This machine: environments, all stages at once, rollback."),
}
SHORTCUTS = {
    "up": ("deploy", "up"),
    "ask": ("rag", "ask"),
    "chat": ("rag", "chat"),
    "web": ("rag", "serve"),
    "status": ("serving", "status"),
    "logs": ("serving", "logs"),
    "down": ("serving", "down"),
    "rollback": ("deploy", "rollback"),
    "setup": ("deploy", "setup"),
    "doctor": ("deploy", "doctor"),
}
"""What is typed daily, and the program's command that it stands for."""


class _Commands(TyperGroup):
    """All commands; a package is imported when one of its own is looked at."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the shortcuts, then the programs."""
        return [*SHORTCUTS, *PROGRAMS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a program's group of commands, or the one command that a shortcut stands for."""
        program, *path = SHORTCUTS.get(cmd_name, (cmd_name,))
        if program not in PROGRAMS:
            return None
        command: Any = typer.main.get_command(_app_of(program))
        for word in path:
            command = command.get_command(ctx, word)
        command.name = cmd_name
        command.rich_help_panel = "Every day" if path else "Programs"
        return command


def _app_of(program: str) -> typer.Typer:
    app: typer.Typer = importlib.import_module(f"quantserve.{program}.__main__").app
    return app


app = typer.Typer(cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        emit_text(f"quantserve {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Quantize a model, prove it in the engine that serves it, serve it, answer from documents."""


def run(program: str, words: list[str]) -> NoReturn:
    """Replace this process by a program in its environment.

    Raises:
        ResourceError: the environment is not made yet.
    """
    python = python_of(PROGRAMS[program].environment)
    if not python.exists():
        raise ResourceError(
            f"the environment {python.parent.parent} is not made yet", mend="Make it: quantserve setup"
        )
    os.execv(python, [str(python), "-m", f"quantserve.{program}", *words])


def main() -> NoReturn:
    """Run a program in its environment, or show help, the version or completions."""
    os.environ[VARIABLE] = str(command_home())  # an empty or relative one means the same to every program
    typed, words = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("", [])
    program, *path = SHORTCUTS.get(typed, (typed,))
    options = words[: words.index("--")] if "--" in words else words
    here = program not in PROGRAMS or not PROGRAMS[program].environment or not [*path, *words]
    if here or "--help" in options or "_QUANTSERVE_COMPLETE" in os.environ:
        run_app(app, "")
    run_reported(lambda: run(program, [*path, *words]), program)
