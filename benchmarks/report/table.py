"""A table that can be shown in a terminal, in HTML and in Markdown."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rich.table import Table as RichTable


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells are texts ready to be read; the first column names the row."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def markdown(self) -> str:
        """As GitHub writes tables."""
        lines = [f"| {' | '.join(self.columns)} |", "|---" + "|---:" * (len(self.columns) - 1) + "|"]
        lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in self.rows]
        return "\n".join(lines) + "\n"

    def rich(self) -> RichTable:
        """For a terminal."""
        table = RichTable(
            title=self.title, title_justify="left", caption=self.note or None, caption_justify="left"
        )
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        return table


@dataclasses.dataclass(frozen=True)
class Section:
    """One part of a report: words, then tables, then pictures (names of PNG files)."""

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[tuple[str, str]] = ()
    """(file name in plots/, caption)."""
