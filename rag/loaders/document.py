"""What every loader gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

Warn = Callable[[str], None]
"""Where a loader says what was wrong with a part of a document that is otherwise read."""


@dataclass(frozen=True)
class Section:
    """A stretch of text that has one place to cite; `start` is its offset in the document's text."""

    text: str
    page: int | None = None
    heading: str = ""
    start: int = 0
    unit: Literal["prose", "rows"] = "prose"
    """`rows`: each line is a record, never cut where it fits and never repeated as overlap."""
    first_row: int = 0
    """Number of the first line's record, from 1, where `unit` is rows."""


Sections = Iterator[Section]


@dataclass(frozen=True)
class LoadedDocument:
    """A document's sections in reading order, and what was wrong with parts of it."""

    sections: tuple[Section, ...]
    warnings: tuple[str, ...] = ()
