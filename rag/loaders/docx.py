"""DOCX: paragraphs, tables, text boxes and notes in their order; outline levels and styles give the headings.

The XML is walked as it is, since python-docx's own view leaves out content controls, text boxes, insertions
and nested tables, and makes as many cells as a gridSpan claims.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantserve.rag.errors import UnreadableDocument
from quantserve.rag.loaders.archive import check_archive
from quantserve.rag.loaders.document import Section, Sections, Warn
from quantserve.rag.loaders.grid import Cell, lay_out, table_text
from quantserve.rag.loaders.headings import HeadingPath

if TYPE_CHECKING:
    from docx.document import Document

Element = Any
"""lxml's elements, which have no types."""
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_HEADING_STYLE = re.compile(r"^(?:heading|제목)\s*(\d)$", re.I)
_TITLES = frozenset({"Title", "제목"})
_BODY_TEXT_LEVEL = 9
"""Word's outline level of what is no heading."""
_WRITTEN = {f"{_W}tab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-"}
_NOTES = ("footnotes", "endnotes")
_PASSED_OVER = frozenset({f"{_W}del", f"{_W}moveFrom", f"{_W}rPr", f"{_W}pPr", _FALLBACK})
"""What was deleted, formatting, and the second form of what stands there already."""
_BLOCKS = frozenset({f"{_W}p", f"{_W}tbl"})
_BOX = f"{_W}txbxContent"


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
        blocks = list(_blocks(document))
    except (OpcError, LxmlError, zipfile.BadZipFile, zipfile.LargeZipFile, KeyError, ValueError) as error:
        raise UnreadableDocument(
            f"{path.name}: is not a readable DOCX", mend="Open and save it again in Word or LibreOffice"
        ) from error
    titles, lines, start = HeadingPath(), list[str](), 0
    bare: tuple[int, str] | None = None
    for level, text in [*blocks, (0, "")]:
        if level is None:
            lines.append(text)
            continue
        heading = str(titles)
        if not lines and bare is not None and level <= bare[0]:  # a heading without text says something, too
            heading, lines = titles.above(bare[0]), [bare[1]]
        if lines:
            body = "\n\n".join(lines)
            yield Section(body, heading=heading, start=start)
            start += len(body) + 2
            lines = []
        titles.enter(level, text)
        bare = (level, text)


def _blocks(document: Document) -> Iterator[tuple[int | None, str]]:
    """Yield (heading level, text) of each paragraph and table that has text; None is running text."""
    from lxml import etree

    styles = _Styles(document)
    yield from _texts(document.element.body, styles)
    for relation in document.part.rels.values():
        if not relation.is_external and relation.reltype.rpartition("/")[2] in _NOTES:
            parser = etree.XMLParser(resolve_entities=False, no_network=True)
            notes = etree.fromstring(relation.target_part.blob, parser)
            yield from ((None, text) for _, text in _texts(notes, styles))


def _texts(parent: Element, styles: _Styles) -> Iterator[tuple[int | None, str]]:
    for block in _of_kind(parent, _BLOCKS):
        if block.tag == f"{_W}tbl":
            if table := table_text(lay_out(_rows(block))):
                yield None, table
            continue
        if text := _text(block).strip():
            yield styles.level_of(block), styles.item_mark(block) + text
        for box in _of_kind(block, frozenset({_BOX})):
            yield from ((None, text) for _, text in _texts(box, styles))


def _of_kind(parent: Element, tags: frozenset[str]) -> Iterator[Element]:
    """Yield the nearest elements of some kinds below one, whatever wraps them (controls, insertions)."""
    waiting = [iter(parent)]
    while waiting:
        element = next(waiting[-1], None)
        if element is None:
            waiting.pop()
        elif element.tag in tags:
            yield element
        elif element.tag not in _PASSED_OVER:
            waiting.append(iter(element))


def _text(paragraph: Element) -> str:
    """Return a paragraph's own text, without what is hidden, deleted, or in a text box."""
    parts: list[str] = []
    waiting = [iter(paragraph)]
    while waiting:
        element = next(waiting[-1], None)
        if element is None:
            waiting.pop()
        elif element.tag == f"{_W}t":
            parts.append(element.text or "")
        elif element.tag in _WRITTEN:
            is_page = element.get(f"{_W}type") in ("page", "column")
            parts.append("" if is_page else _WRITTEN[element.tag])
        elif element.tag not in _PASSED_OVER and element.tag != _BOX and not _is_hidden(element):
            waiting.append(iter(element))
    return "".join(parts)


def _is_hidden(run: Element) -> bool:
    if run.tag != f"{_W}r":
        return False
    for mark in run.iterfind(f"{_W}rPr/{_W}vanish"):
        return mark.get(f"{_W}val") not in ("0", "false", "off")
    return False


def _rows(table: Element) -> Iterator[list[Cell]]:
    """Yield the cells of each row; one that goes on from the row above repeats its text."""
    above: dict[int, str] = {}
    for row in _of_kind(table, frozenset({f"{_W}tr"})):
        cells: list[Cell] = []
        is_heading = row.find(f"{_W}trPr/{_W}tblHeader") is not None
        at = _number(row.find(f"{_W}trPr/{_W}gridBefore"), 0)
        if at:
            cells.append(Cell("", columns=at))
        now: dict[int, str] = {}
        for cell in _of_kind(row, frozenset({f"{_W}tc"})):
            span = _number(cell.find(f"{_W}tcPr/{_W}gridSpan"), 1)
            merge = cell.find(f"{_W}tcPr/{_W}vMerge")
            goes_on = merge is not None and merge.get(f"{_W}val", "continue") == "continue"
            text = above.get(at, "") if goes_on else _cell_text(cell)
            now[at] = text
            cells.append(Cell(text, columns=span, is_header=is_heading))
            at += span
        above = now
        yield cells


def _cell_text(cell: Element) -> str:
    """Return a cell's text on one line, nested tables cell by cell."""
    paragraphs = (
        " ".join([_text(element), *(_cell_text(box) for box in _of_kind(element, frozenset({_BOX})))])
        if element.tag == f"{_W}p"
        else "; ".join(" ".join(inner.text for inner in row if inner.text) for row in _rows(element))
        for element in _of_kind(cell, _BLOCKS)
    )
    return " ".join(" ".join(paragraphs).split())


def _number(element: Element, default: int) -> int:
    value = element.get(f"{_W}val", "") if element is not None else ""
    return max(default, int(value)) if value.isascii() and value.isdigit() and len(value) < 19 else default


class _Styles:
    """What a paragraph's style says of it; styles are looked up once."""

    def __init__(self, document: Document) -> None:
        self._elements = {
            style.get(f"{_W}styleId"): style for style in document.styles.element.iterfind(f"{_W}style")
        }
        self._levels: dict[str, int | None] = {}

    def level_of(self, paragraph: Element) -> int | None:
        """Return the heading level of a paragraph, 1 the highest; None for running text."""
        own = paragraph.find(f"{_W}pPr/{_W}outlineLvl")
        if own is not None:
            return _level(own)
        identity = _style_of(paragraph)
        if identity not in self._levels:
            self._levels[identity] = self._look_up(identity)
        return self._levels[identity]

    def item_mark(self, paragraph: Element) -> str:
        """Return "- " for a list's item."""
        name = self._name(_style_of(paragraph))
        is_numbered = paragraph.find(f"{_W}pPr/{_W}numPr") is not None
        is_item = name.lower().startswith("list") or is_numbered
        return "- " if is_item and self.level_of(paragraph) is None else ""

    def _name(self, identity: str) -> str:
        style = self._elements.get(identity)
        name = style.find(f"{_W}name") if style is not None else None
        return name.get(f"{_W}val", "") if name is not None else ""

    def _look_up(self, identity: str) -> int | None:
        seen: set[str] = set()
        while identity and identity not in seen:
            seen.add(identity)
            name = self._name(identity)
            if name in _TITLES:
                return 1
            if match := _HEADING_STYLE.match(name):
                return int(match[1])
            style = self._elements.get(identity)
            if style is None:
                return None
            level = style.find(f"{_W}pPr/{_W}outlineLvl")
            if level is not None:
                return _level(level)
            based_on = style.find(f"{_W}basedOn")
            identity = based_on.get(f"{_W}val", "") if based_on is not None else ""
        return None


def _style_of(paragraph: Element) -> str:
    style = paragraph.find(f"{_W}pPr/{_W}pStyle")
    return style.get(f"{_W}val", "") if style is not None else ""


def _level(outline: Element) -> int | None:
    level = _number(outline, 0)
    return level + 1 if level < _BODY_TEXT_LEVEL else None
