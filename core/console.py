"""What a person sees: tables and progress on stderr; what a program reads: JSON as stdout's last line."""

from __future__ import annotations

import io
import json
import sys
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from quantserve.core.errors import EXIT_INTERRUPTED, QuantserveError
from quantserve.core.home import found_at_home
from quantserve.core.terminal import json_escaped, one_line, printable

# Into a file or a pipe a table takes the width it needs; a terminal says its own.
_WIDTH_OF_A_FILE = 140


class PlainConsole(Console):
    """A console for which a text is a text: [/path/to] is no markup, and an escape sequence no command.

    That is so for everything printed as a string, in tables too. What is coloured is said by `styled`, or by
    the argument `style`.
    """

    def render_str(self, text: str, **how: Any) -> Text:
        """Make a string a text, without what would command the terminal."""
        return super().render_str(printable(text), **how)


console = PlainConsole(
    stderr=True,
    highlight=False,
    markup=False,
    emoji=False,
    width=None if sys.stderr.isatty() else _WIDTH_OF_A_FILE,
)


def styled(*parts: str | tuple[str, str]) -> Text:
    """Return one text of pieces, plain or with a style: styled(("made", "green"), f": {path}")."""
    pieces = ((part, "") if isinstance(part, str) else part for part in parts)
    return Text.assemble(*((printable(text), style) for text, style in pieces))


class _Description(ProgressColumn):
    """What a bar is about, on one line; it may hold the name of a file."""

    def render(self, task: Task) -> Text:
        """Show the description as it is."""
        return Text(one_line(task.description))


def progress() -> Progress:
    """Return the one style of progress bar; on a pipe it prints nothing until it ends."""
    return Progress(
        SpinnerColumn(),
        _Description(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def emit_json(value: dict[str, Any]) -> None:
    """Print one line of JSON on stdout, for programs."""
    sys.stdout.write(json_escaped(json.dumps(value, ensure_ascii=False, allow_nan=False)) + "\n")
    sys.stdout.flush()


def emit_text(text: str) -> None:
    """Print a text on stdout, for people: an answer, a key, a path."""
    emit_piece(text + "\n")


def emit_piece(text: str) -> None:
    """Print a piece of a text on stdout: an answer on its way, lines of a log."""
    sys.stdout.write(printable(text))
    sys.stdout.flush()


def run_app(app: typer.Typer, program: str) -> NoReturn:
    """Run a typer application; an expected failure becomes one line on stderr and its exit code.

    Bytes that are no text, in what is read, and characters that the terminal's encoding lacks, in what is
    written, are replaced: neither ends a command.
    """
    for stream, how in ((sys.stdin, "replace"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=how)
    try:
        app(found_at_home(sys.argv[1:]), prog_name=program)
    except QuantserveError as error:
        console.print(styled((f"{program}:", "bold red"), f" {one_line(str(error))}"), soft_wrap=True)
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
