"""Records (of a table, of JSON lines) to sections, a bounded number at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from quantserve.rag.loaders.document import Section, Sections

_BLOCK_CHARACTERS = 16 << 10
_TEXT_KEYS = ("context", "text", "content", "body", "passage")
_TITLE_KEYS = ("title", "heading", "name")


def line_of(record: Mapping[str, Any]) -> str:
    """Return a record as one line, `name: value | name: value`; empty fields are left out."""
    cells = ((name, " ".join(str(value).split())) for name, value in record.items() if value is not None)
    return " | ".join(f"{name}: {value}" if name else value for name, value in cells if value)


def _prose_of(record: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return (title, text) of a record that holds a passage, as question-answering sets do."""
    for key in _TEXT_KEYS:
        text = record.get(key)
        if isinstance(text, str) and text.strip():
            title = next((record[name] for name in _TITLE_KEYS if isinstance(record.get(name), str)), "")
            return " ".join(title.split()), text
    return None


class _Rows:
    """Gathers one-line records into blocks."""

    def __init__(self) -> None:
        self.start = 0
        self._lines: list[str] = []
        self._length = 0
        self._first = 0

    def add(self, number: int, record: Mapping[str, Any]) -> Sections:
        """Take one record; yield a block when it is full."""
        if not self._lines:
            self._first = number
        line = line_of(record)
        self._lines.append(line)
        self._length += len(line) + 1
        if self._length >= _BLOCK_CHARACTERS:
            yield from self.flush()

    def flush(self) -> Sections:
        """Yield what is left."""
        if any(self._lines):
            yield Section("\n".join(self._lines), start=self.start, unit="rows", first_row=self._first)
        self.start += self._length
        self._lines, self._length = [], 0


def row_sections(records: Iterable[Mapping[str, Any]], first_row: int = 1) -> Sections:
    """Yield blocks of one-line records."""
    rows = _Rows()
    for number, record in enumerate(records, start=first_row):
        yield from rows.add(number, record)
    yield from rows.flush()


def record_sections(records: Iterable[Mapping[str, Any]]) -> Sections:
    """Yield a section for each passage (a context that several questions share, once), else rows.

    Rows of question-answering sets (KLUE-MRC, SQuAD: title, context, question, answers) give their
    contexts under their titles: the question is what somebody will ask, not what a document says.
    """
    seen: set[bytes] = set()
    rows = _Rows()
    for number, record in enumerate(records, start=1):
        prose = _prose_of(record)
        if prose is None:
            yield from rows.add(number, record)
            continue
        title, text = prose[0], prose[1].strip()
        digest = hashlib.blake2b(f"{title}\0{text}".encode(errors="surrogatepass"), digest_size=8).digest()
        if digest in seen:
            continue
        seen.add(digest)
        yield from rows.flush()
        yield Section(text, heading=title, start=rows.start)
        rows.start += len(text) + 1
    yield from rows.flush()
