"""Tables and sections that can be shown in a terminal, in HTML and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.table import Table as RichTable

Mark = Literal["pass", "FAIL", "soft", "code"]


@dataclass(frozen=True)
class Cell:
    """A text of several lines, or one with a meaning: code keeps its line breaks, the others their colour."""

    text: str
    mark: Mark
    below: str = ""
    """A second text, in small, with the colour of a failure where `below_fails`, else soft."""
    below_fails: bool = False


@dataclass(frozen=True)
class Table:
    """Cells are texts ready to be read; the first column names the row."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    note: str = ""

    def markdown(self) -> str:
        """As GitHub writes tables."""
        lines = [f"| {' | '.join(self.columns)} |", "|---" + "|---:" * (len(self.columns) - 1) + "|"]
        lines += [
            f"| {' | '.join(_text(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in self.rows
        ]
        return "\n".join(lines) + "\n"

    def rich(self) -> RichTable:
        """For a terminal."""
        table = RichTable(
            title=self.title, title_justify="left", caption=self.note or None, caption_justify="left"
        )
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*map(_text, row))
        return table


def _text(cell: str | Cell) -> str:
    return cell if isinstance(cell, str) else cell.text


@dataclass(frozen=True)
class Section:
    """One part of a report: words, then tables, then pictures."""

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[tuple[str, str]] = ()
    """(a PNG file's name in the report's folder of plots, or an SVG element; caption)."""
