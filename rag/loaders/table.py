"""CSV and TSV: a line for each row, with the column's name before each value."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from io import StringIO
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

from quantserve.rag.errors import UnreadableDocument
from quantserve.rag.loaders.document import Sections, Warn
from quantserve.rag.loaders.encoding import open_text
from quantserve.rag.loaders.rows import row_sections

_SNIFFED_CHARACTERS = 64 << 10
_SNIFFED_ROWS = 50
_DELIMITERS = ",;\t|"
MAX_COLUMNS = 16_384
"""As in a spreadsheet."""
_NUMBER = re.compile(r"^[-+]?[\d.,%\s/:-]+$")


def sections(path: Path, warn: Warn) -> Sections:
    """Read a table a row at a time; the first row that looks like names gives the columns' names.

    Raises:
        UnreadableDocument: a field never ends, or is larger than 128 KiB.
    """
    with open_text(path) as stream:
        try:
            yield from row_sections(_records(stream, path.suffix.lower() == ".tsv"), first_row=1)
        except csv.Error as error:
            raise UnreadableDocument(
                f"{path.name}: is not a readable table ({error})", mend="Check its quotes, or save it again"
            ) from error


def _records(stream: TextIO, tabs: bool) -> Iterator[dict[str, str]]:
    reader = csv.reader(stream, delimiter="\t" if tabs else _delimiter(stream))
    rows: Iterator[list[str]] = (_bounded(row) for row in reader if any(cell.strip() for cell in row))
    first = next(rows, None)
    if first is None:
        return
    names = [cell.strip() for cell in first]
    if not is_header(names):
        rows, names = chain([first], rows), []
    for row in rows:
        yield _named(names, row)


def _delimiter(stream: TextIO) -> str:
    """Return the separator by which the first rows have most columns in common; a comma where none does.

    Rows, not lines: a quoted cell may hold line breaks and other separators.
    """
    sample = stream.read(_SNIFFED_CHARACTERS)
    stream.seek(0)
    return max(_DELIMITERS, key=lambda mark: (*_agreement(sample, mark), mark == ","))


def _agreement(sample: str, mark: str) -> tuple[float, int]:
    """Return the share of rows with the most frequent number of columns above one, and that number."""
    try:
        rows = [
            len(row) for row in islice(csv.reader(StringIO(sample), delimiter=mark), _SNIFFED_ROWS) if row
        ]
    except csv.Error:
        return 0.0, 1
    whole = rows[:-1] if len(rows) > 1 and len(sample) == _SNIFFED_CHARACTERS else rows
    counts = Counter(columns for columns in whole if columns > 1)
    if not counts:
        return 0.0, 1
    columns, number = max(counts.items(), key=lambda entry: (entry[1], entry[0]))
    return round(number / len(whole), 1), columns


def _bounded(row: list[str]) -> list[str]:
    if len(row) > MAX_COLUMNS:
        raise csv.Error(f"a row has {len(row):,} columns, {MAX_COLUMNS:,} are the most")
    return row


def is_header(cells: Sequence[str]) -> bool:
    """Whether a first row names its columns: no cell empty or a number, no name twice."""
    return (
        len(cells) > 1
        and all(cells)
        and len(set(cells)) == len(cells)
        and not any(_NUMBER.match(cell) for cell in cells)
    )


def _named(names: Sequence[str], row: Sequence[str]) -> dict[str, str]:
    """Pair cells with names; a cell without a name gets its column's number."""
    if not names:
        return {"": " | ".join(cell.strip() for cell in row if cell.strip())}
    extra = (f"column {number}" for number in range(len(names) + 1, len(row) + 1))
    return dict(zip(chain(names, extra), row, strict=False))
