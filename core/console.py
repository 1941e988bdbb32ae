"""What a person sees: tables and progress on stderr; what a program reads: JSON as stdout's last line."""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from core.errors import EXIT_INTERRUPTED, QuantserveError
from core.home import found_at_home

# Into a file or a pipe a table takes the width it needs; a terminal says its own.
_WIDTH_OF_A_FILE = 140
console = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else _WIDTH_OF_A_FILE)


def progress() -> Progress:
    """Return the one style of progress bar; on a pipe it prints nothing until it ends."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def emit_json(value: dict[str, Any]) -> None:
    """Print one line of JSON on stdout, for programs."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def run_app(app: typer.Typer, program: str) -> NoReturn:
    """Run a typer application; an expected failure becomes one line on stderr and its exit code."""
    try:
        app(found_at_home(sys.argv[1:]), prog_name=program)
    except QuantserveError as error:
        console.print(f"[bold red]{program}:[/] ", end="")
        console.print(str(error), markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say_interrupted(program)
        sys.exit(EXIT_INTERRUPTED)
    except SystemExit as end:
        # typer takes a Ctrl-C for itself and exits with 130, without a word
        if end.code == EXIT_INTERRUPTED and _was_interrupted(end):
            _say_interrupted(program)
        raise
    sys.exit(0)


def _say_interrupted(program: str) -> None:
    console.print(f"{program}: interrupted; nothing half-written was left", markup=False)


def _was_interrupted(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
