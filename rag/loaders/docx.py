"""DOCX: paragraphs and tables in their order; Word's heading styles give the headings."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import UnreadableDocument
from rag.loaders.archive import check_archive
from rag.loaders.document import Section, Sections, Warn
from rag.loaders.headings import HeadingPath

if TYPE_CHECKING:
    from docx.document import Document
    from docx.table import Table

_HEADING_STYLE = re.compile(r"^(?:heading|제목)\s*(\d)$", re.I)
_TITLES = frozenset({"Title", "제목"})


def sections(path: Path, warn: Warn) -> Sections:
    """Read a DOCX file.

    Raises:
        UnreadableDocument: it is broken, locked, or a zip bomb.
    """
    check_archive(path, "DOCX")
    import docx
    from docx.opc.exceptions import OpcError
    from lxml.etree import LxmlError

    try:
        with path.open("rb") as stream:
            document = docx.Document(stream)
    except (OpcError, LxmlError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise UnreadableDocument(
            f"{path.name}: is not a readable DOCX", mend="Open and save it again in Word or LibreOffice"
        ) from error
    titles, lines, start = HeadingPath(), list[str](), 0
    for level, text in _blocks(document):
        if level is None:
            lines.append(text)
            continue
        if lines:
            body = "\n\n".join(lines)
            yield Section(body, heading=str(titles), start=start)
            start += len(body) + 2
            lines = []
        titles.enter(level, text)
    if lines:
        yield Section("\n\n".join(lines), heading=str(titles), start=start)


def _blocks(document: Document) -> Iterator[tuple[int | None, str]]:
    """Yield (heading level, text) of each paragraph and table that has text; None is running text."""
    from docx.text.paragraph import Paragraph

    for block in document.iter_inner_content():
        if not isinstance(block, Paragraph):
            if table := _table(block):
                yield None, table
            continue
        if not (text := block.text.strip()):
            continue
        name = block.style.name if block.style is not None and block.style.name else ""
        if name in _TITLES:
            yield 1, text
        elif match := _HEADING_STYLE.match(name):
            yield int(match[1]), text
        else:
            yield None, f"- {text}" if name.startswith("List") else text


def _table(table: Table) -> str:
    """Return a table as Markdown; a cell merged over several places is said once a row."""
    rows: list[str] = []
    for row in table.rows:
        cells: list[str] = []
        seen: set[int] = set()
        for cell in row.cells:
            if id(cell._tc) not in seen:
                seen.add(id(cell._tc))
                cells.append(" ".join(cell.text.split()))
        if any(cells):
            rows.append(f"| {' | '.join(cells)} |")
            if len(rows) == 1:
                rows.append("|" + "---|" * len(cells))
    return "\n".join(rows)
