"""Lines on a terminal without any library: colours only where a person looks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from quantserve.core.errors import EXIT_INTERRUPTED, QuantserveError

_COLOURS = {"bold": "1", "red": "31", "green": "32", "yellow": "33", "dim": "2"}


def paint(text: str, colour: str) -> str:
    """Return `text` in a colour when stderr is a terminal and NO_COLOR is unset."""
    if not sys.stderr.isatty() or "NO_COLOR" in os.environ:
        return text
    return f"\033[{_COLOURS[colour]}m{text}\033[0m"


def say(text: str = "") -> None:
    """Print a line for people."""
    print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Print a warning that stops nothing."""
    say(f"{paint('warning:', 'yellow')} {text}")


def target() -> str:
    """Return what the user typed: the make target that runs this program."""
    return f"make {os.environ.get('MAKE_TARGET') or 'up'}"


def run_main(main: Callable[[], int | None]) -> NoReturn:
    """Run a program; an expected failure becomes one line on stderr and its exit code."""
    try:
        sys.exit(main())
    except QuantserveError as error:
        if error.problem:  # else a stage's program has said it all
            say(f"{paint(f'{target()}:', 'red')} {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        say(f"{target()}: interrupted; run it again to go on where it stopped")
        sys.exit(EXIT_INTERRUPTED)
