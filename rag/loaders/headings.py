"""The path of titles above a place in a document."""

from __future__ import annotations

SEPARATOR = " › "


class HeadingPath:
    """Follows headings as they come; a heading ends those of its level and below."""

    def __init__(self) -> None:
        """Begin above all headings."""
        self._titles: list[tuple[int, str]] = []

    def enter(self, level: int, title: str) -> None:
        """Go under a heading of this level (1 is the highest)."""
        self._titles = [entry for entry in self._titles if entry[0] < level] + [(level, title)]

    def above(self, level: int) -> str:
        """Return the titles above a level."""
        return SEPARATOR.join(title for depth, title in self._titles if depth < level)

    def __str__(self) -> str:
        """The titles from the highest to the nearest."""
        return SEPARATOR.join(title for _, title in self._titles)
