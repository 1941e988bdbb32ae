"""What every loader returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """A stretch of text that has one place to cite; `start` is its offset in the document's text."""

    text: str
    page: int | None = None
    heading: str = ""
    start: int = 0


@dataclass(frozen=True)
class LoadedDocument:
    """A document's sections in reading order, and what was wrong with parts of it."""

    sections: tuple[Section, ...]
    warnings: tuple[str, ...] = ()
