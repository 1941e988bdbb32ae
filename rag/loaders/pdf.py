"""PDF: one section per page, by pypdfium2 (which keeps Korean spacing and glyphs right)."""

from __future__ import annotations

import ctypes
from pathlib import Path

from rag.errors import UnreadableDocument
from rag.loaders.document import Section, Sections, Warn
from rag.loaders.pdf_text import clean_page, join_lines, running_lines, without_running_lines


def _page_texts(path: Path) -> list[str]:
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
        texts: list[str] = []
        for index in range(len(document)):
            try:
                page = document[index]
                texts.append(page.get_textpage().get_text_bounded())
            except (pypdfium2.PdfiumError, ctypes.ArgumentError):
                texts.append("")
        return texts
    finally:
        document.close()


def page_ranges(pages: list[int]) -> str:
    """Write page numbers shortly: [1, 2, 3, 7] is "1–3, 7"."""
    ranges: list[list[int]] = []
    for page in pages:
        if ranges and page == ranges[-1][1] + 1:
            ranges[-1][1] = page
        else:
            ranges.append([page, page])
    return ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in ranges)


def sections(path: Path, warn: Warn) -> Sections:
    """Read a PDF; a page without text is named in the warnings.

    Raises:
        UnreadableDocument: it is broken or locked.
    """
    pages = [clean_page(text) for text in _page_texts(path)]
    repeated = running_lines(pages)
    joined = join_lines([without_running_lines(lines, repeated) for lines in pages])
    blank = [number for number, text in enumerate(joined, start=1) if not text]
    if blank:
        warn(f"no text on page {page_ranges(blank)} (scanned or blank)")
    start = 0
    for number, text in enumerate(joined, start=1):
        if text:
            yield Section(text, page=number, start=start)
            start += len(text) + 1
