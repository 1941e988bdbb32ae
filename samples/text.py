"""Read a sample document's text, page by page, the way a reader of the file sees it.

Used by the checker and the tests only; the retrieval layer has its own loaders, so an error there is not
repeated here.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pypdfium2

PAGE_CHARACTERS = {"ko": 1_800, "en": 3_000}
_HANGUL = re.compile("[가-힣]")
_HIDDEN = ("style", "script", "title")


def pages(path: Path) -> list[str]:
    """The text of each PDF page, or of the whole file as one page."""
    if path.suffix == ".pdf":
        with pypdfium2.PdfDocument(path) as document:
            return [page.get_textpage().get_text_bounded() for page in document]
    text = path.read_text(encoding="utf-8")
    return [_html_text(text) if path.suffix == ".html" else text]


def squeeze(text: str) -> str:
    """Runs of white space as one space, so that line breaks of a layout do not matter."""
    return " ".join(text.split())


def language(text: str) -> str:
    """`ko` when more than a fifth of the letters are Hangul, else `en`."""
    letters = [c for c in text if c.isalpha()]
    return "ko" if len(_HANGUL.findall(text)) > len(letters) / 5 else "en"


def page_count(path: Path) -> float:
    """PDF pages as they are; other files by characters, 1,800 Korean or 3,000 English to the page."""
    found = pages(path)
    if path.suffix == ".pdf":
        return len(found)
    return len(found[0]) / PAGE_CHARACTERS[language(found[0])]


def headings(path: Path) -> list[str]:
    """The headings of a Markdown or HTML file, in order; other kinds have none that can be told apart."""
    text = path.read_text(encoding="utf-8") if path.suffix in (".md", ".html") else ""
    if path.suffix == ".md":
        without_code = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
        return [match.strip() for match in re.findall(r"^#{1,6} (.+)$", without_code, flags=re.M)]
    return [
        squeeze(_html_text(match)) for match in re.findall(r"<h[1-6][^>]*>(.*?)</h[1-6]>", text, flags=re.S)
    ]


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in _HIDDEN
        if tag not in ("code", "a", "b", "i", "em", "strong", "span"):
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in _HIDDEN

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data)


def _html_text(html: str) -> str:
    parser = _Text()
    parser.feed(html)
    parser.close()
    return "".join(parser.parts)
