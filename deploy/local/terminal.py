"""Lines on a terminal without any library: colours only where a person looks."""

from __future__ import annotations

import os
import sys

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
