"""PDF: one section per page, by pypdfium2 (which keeps Korean spacing and glyphs right)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantserve.rag.errors import UnreadableDocument
from quantserve.rag.loaders.document import Section, Sections, Warn
from quantserve.rag.loaders.pdf_layout import Piece, page_lines
from quantserve.rag.loaders.pdf_text import clean_page, join_lines, running_lines, without_running_lines

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfPage

MAX_PAGES = 20_000
_MOST_PIECES = 5_000
"""Of a page; one with more (a drawing full of single letters) is read in PDFium's order."""
_MOST_DRAWN = 20_000
_LEAST_RULE = 20.0
_THIN = 2.0
"""Points; two edges closer than that are one."""
_MOST_NOTES = 1_000
_SHOWN_RANGES = 20
_NOT_SHOWN = 0x02 | 0x20
"""An annotation's flags: hidden, no view."""
_PASSWORD = 1 << 13
"""A text field's flag (ISO 32000, table 228)."""


def _page_texts(path: Path) -> list[tuple[str, list[str]]]:
    """Return each page's text, and what was filled into its form or noted on it."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        locked = "password" in str(error).lower()
        raise UnreadableDocument(
            f"{path.name}: {'is locked by a password' if locked else 'is not a readable PDF'}",
            mend="Save it without the password" if locked else "Open and save it again with a PDF program",
        ) from error
    try:
        if len(document) > MAX_PAGES:
            raise UnreadableDocument(
                f"{path.name}: has {len(document):,} pages, {MAX_PAGES:,} are the most", mend="Split it"
            )
        document.init_forms()
        texts: list[tuple[str, list[str]]] = []
        for index in range(len(document)):
            try:
                page = document[index]
                text = _text_of(page)
            except (pypdfium2.PdfiumError, ctypes.ArgumentError):
                texts.append(("", []))
                continue
            try:
                texts.append((text, list(_entries(document, page))))
            except (pypdfium2.PdfiumError, ctypes.ArgumentError):
                texts.append((text, []))  # a broken note costs the notes, not the page
            page.close()
        return texts
    finally:
        document.close()


def _text_of(page: PdfPage) -> str:
    words = page.get_textpage()
    text: str = words.get_text_bounded()
    count = words.count_rects()
    if not 3 < count <= _MOST_PIECES:
        return text
    pieces: list[Piece] = []
    for number in range(count):
        left, bottom, right, top = words.get_rect(number)
        if piece := words.get_text_bounded(left, bottom, right, top):
            pieces.append(Piece(left, bottom, right, top, piece))
    lines = page_lines(pieces, lambda: _rules(page))
    return text if lines is None else "\n".join(lines)


def _rules(page: PdfPage) -> list[float]:
    """Return the heights of a page's horizontal lines, and of the upper and lower edges of its boxes."""
    import pypdfium2.raw as pdfium

    found: list[float] = []
    for drawn in islice(page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_PATH]), _MOST_DRAWN):
        left, bottom, right, top = drawn.get_bounds()
        if right - left >= _LEAST_RULE:
            found += [bottom] if top - bottom < _THIN else [bottom, top]
    found.sort()
    return [
        height for number, height in enumerate(found) if not number or height - found[number - 1] >= _THIN
    ]


def _entries(document: PdfDocument, page: PdfPage) -> Iterator[str]:
    """Yield what was filled into a page's form, and the notes on it."""
    import pypdfium2.raw as pdfium

    form = document.formenv.raw if document.formenv is not None else None
    for number in range(min(pdfium.FPDFPage_GetAnnotCount(page.raw), _MOST_NOTES)):
        note = pdfium.FPDFPage_GetAnnot(page.raw, number)
        if not note:
            continue
        try:
            if pdfium.FPDFAnnot_GetFlags(note) & _NOT_SHOWN:
                continue
            kind = pdfium.FPDFAnnot_GetSubtype(note)
            if kind == pdfium.FPDF_ANNOT_WIDGET and form is not None:
                text = _field(pdfium, form, note)
            elif kind in (pdfium.FPDF_ANNOT_POPUP, pdfium.FPDF_ANNOT_LINK, pdfium.FPDF_ANNOT_WIDGET):
                text = ""
            else:
                text = _string(
                    lambda *room, note=note: pdfium.FPDFAnnot_GetStringValue(note, b"Contents", *room)
                )
        finally:
            pdfium.FPDFPage_CloseAnnot(note)
        if text:
            yield text


def _field(pdfium: Any, form: Any, note: Any) -> str:
    """Return "name: value" of a filled field; empty for an empty one, a button, and a password."""
    kind = pdfium.FPDFAnnot_GetFormFieldType(form, note)
    flags = pdfium.FPDFAnnot_GetFormFieldFlags(form, note)
    if kind in (pdfium.FPDF_FORMFIELD_PUSHBUTTON, pdfium.FPDF_FORMFIELD_SIGNATURE):
        return ""
    if kind == pdfium.FPDF_FORMFIELD_TEXTFIELD and flags & _PASSWORD:
        return ""
    value = _string(lambda *room: pdfium.FPDFAnnot_GetFormFieldValue(form, note, *room))
    if kind in (pdfium.FPDF_FORMFIELD_CHECKBOX, pdfium.FPDF_FORMFIELD_RADIOBUTTON):
        if not pdfium.FPDFAnnot_IsChecked(form, note):
            return ""
        value = value or "Yes"
    name = _string(lambda *room: pdfium.FPDFAnnot_GetFormFieldAlternateName(form, note, *room))
    name = name or _string(lambda *room: pdfium.FPDFAnnot_GetFormFieldName(form, note, *room))
    return f"{name}: {value}" if name and value else value


def _string(read: Any) -> str:
    """Call one of PDFium's functions that fill a buffer with UTF-16."""
    length = read(None, 0)
    if length <= 2:
        return ""
    room = ctypes.create_string_buffer(length)
    read(ctypes.cast(room, ctypes.POINTER(ctypes.c_ushort)), length)
    return " ".join(room.raw[: length - 2].decode("utf-16-le", errors="replace").split())


def page_ranges(pages: list[int]) -> str:
    """Write page numbers shortly: [1, 2, 3, 7] is "1–3, 7"; very many are counted."""
    ranges: list[list[int]] = []
    for page in pages:
        if ranges and page == ranges[-1][1] + 1:
            ranges[-1][1] = page
        else:
            ranges.append([page, page])
    shown = ", ".join(
        str(first) if first == last else f"{first}–{last}" for first, last in ranges[:_SHOWN_RANGES]
    )
    return f"{shown} and more, {len(pages)} in all" if len(ranges) > _SHOWN_RANGES else shown


def sections(path: Path, warn: Warn) -> Sections:
    """Read a PDF; a page without text is named in the warnings.

    Raises:
        UnreadableDocument: it is broken or locked.
    """
    texts = _page_texts(path)
    pages = [clean_page(text) for text, _ in texts]
    repeated = running_lines(pages)
    running = join_lines([without_running_lines(lines, repeated) for lines in pages])
    joined = [
        "\n".join(filter(None, [text, *entries])) for text, (_, entries) in zip(running, texts, strict=True)
    ]
    blank = [number for number, text in enumerate(joined, start=1) if not text]
    if blank:
        warn(f"no text on page {page_ranges(blank)} (scanned or blank)")
    start = 0
    for number, text in enumerate(joined, start=1):
        if text:
            yield Section(text, page=number, start=start)
            start += len(text) + 1
