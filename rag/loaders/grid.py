"""Tables of documents: cells that span columns and rows laid out in a bounded grid, and the grid as text.

A cell's span is a number that its author chose (gridSpan of Word, colspan and rowspan of HTML): what it
claims is never made, only what the table's real cells need.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from quantserve.rag.loaders.rows import line_of

MAX_COLUMNS = 512
"""Cells to the right of that are put into the last column."""
_MAX_ROW_SPAN = 10_000
_SMALL_CHARACTERS = 600
"""A table of this length stays whole in a passage; the rows of a longer one each carry the columns' names."""


@dataclass(frozen=True)
class Cell:
    """One cell as it was written."""

    text: str
    columns: int = 1
    rows: int = 1
    is_header: bool = False


def lay_out(table: Iterable[Sequence[Cell]]) -> list[list[str]]:
    """Return rows of equal length: a cell of several rows is in each, one of several columns in the first.

    In the heading rows, whose cells are all headers, or in the first, it stands in each column it names;
    several heading rows become one. Empty rows and columns at the edges are left out.
    """
    rows: list[list[str]] = []
    heading_rows = 0
    carried: dict[int, tuple[str, int]] = {}
    for number, cells in enumerate(table):
        names = number == heading_rows and bool(cells) and all(cell.is_header for cell in cells)
        heading_rows += names
        row: dict[int, str] = {column: text for column, (text, _) in carried.items()}
        carried = {column: (text, left - 1) for column, (text, left) in carried.items() if left > 1}
        at = 0
        for cell in cells:
            while at in row:
                at += 1
            at = min(at, MAX_COLUMNS - 1)
            columns = max(1, min(cell.columns, MAX_COLUMNS - at))
            for place in range(at, at + columns):
                first = place == at or names or number == 0
                text = cell.text if first else ""
                row[place] = f"{row[place]} {text}".strip() if place in row else text
                if cell.rows > 1:
                    carried[place] = (text, min(cell.rows, _MAX_ROW_SPAN) - 1)
            at += columns
        rows.append([row.get(column, "") for column in range(max(row, default=-1) + 1)])
    merged = _merged_headings(rows, heading_rows)
    kept = [row for row in merged if any(row)]
    width = max((_used(row) for row in kept), default=0)
    return [(row + [""] * width)[:width] for row in kept]


def _used(row: Sequence[str]) -> int:
    return next((place for place in range(len(row), 0, -1) if row[place - 1]), 0)


def _merged_headings(rows: list[list[str]], count: int) -> list[list[str]]:
    """Join several heading rows by column: "2025" above "매출" is "2025 매출"."""
    if count < 2:
        return rows
    width = max(len(row) for row in rows[:count])
    columns = [
        list(dict.fromkeys(row[column] for row in rows[:count] if column < len(row) and row[column]))
        for column in range(width)
    ]
    return [[" ".join(parts) for parts in columns], *rows[count:]]


def table_text(rows: Sequence[Sequence[str]]) -> str:
    """Return laid out rows as Markdown; where that is long, each row with the columns' names before its
    values."""
    if not rows:
        return ""
    lines = [_line(row) for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    text = "\n".join(lines)
    names = rows[0]
    if len(text) <= _SMALL_CHARACTERS or len(names) < 2 or len(rows) < 2:
        return text
    records = (dict(zip(_distinct(names), row, strict=True)) for row in rows[1:])
    return "\n".join(f"| {line} |" for record in records if (line := line_of(record)))


def _line(row: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '¦') for cell in row)} |"


def _distinct(names: Sequence[str]) -> list[str]:
    """Return column names of which none comes twice."""
    seen: set[str] = set()
    found = []
    for number, name in enumerate(names, start=1):
        chosen = name if name and name not in seen else f"{name} {number}".strip()
        seen.add(chosen)
        found.append(chosen)
    return found
