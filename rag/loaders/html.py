"""HTML: the visible part of the page as Markdown (headings, lists and code stay, tables keep rows and
headers)."""

from __future__ import annotations

import contextlib
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from quantserve.rag.errors import UnreadableDocument
from quantserve.rag.loaders.document import Sections, Warn
from quantserve.rag.loaders.encoding import decode, read_whole
from quantserve.rag.loaders.html_hidden import remove_hidden
from quantserve.rag.loaders.html_tables import lift_tables, put_back
from quantserve.rag.loaders.markdown import split_headings

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

_META = re.compile(rb"""<meta\s[^>]{0,500}?charset\s{0,20}=\s{0,20}["']?\s{0,20}([\w.:-]{1,40})""", re.I)
_XML = re.compile(rb"""^\s{0,100}<\?xml\s[^>]{0,200}?encoding\s{0,20}=\s{0,20}["']([\w.:-]{1,40})""", re.I)
_DECLARED_WITHIN_BYTES = 4096
_DROPPED = ("script", "style", "noscript", "template", "nav", "footer", "iframe", "svg")
_CONTROLS = ("button", "select", "datalist", "input")
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_BLANK_LINES = re.compile(r"\n{3,}")
_MAIN_SHARE = 0.5
_DEPTH = 10_000
"""Of calls, for pages nested some thousand elements deep; a page has a dozen."""


def sections(path: Path, warn: Warn) -> Sections:
    """Read an HTML file.

    Raises:
        UnreadableDocument: it is too large, or nested too deeply.
    """
    data = read_whole(path)
    try:
        with _deep_calls():
            text = to_markdown(decode(data, path.name, declared_encoding(data)))
    except RecursionError as error:
        raise UnreadableDocument(
            f"{path.name}: is nested too deeply", mend="Save the page's text as a file and give that"
        ) from error
    yield from split_headings(text)


def declared_encoding(data: bytes) -> str:
    """Return the label that a page or an XML file declares; empty where there is none."""
    start = data[:_DECLARED_WITHIN_BYTES]
    found = _XML.search(start) or _META.search(start)
    return found[1].decode("ascii", errors="replace") if found else ""


@contextlib.contextmanager
def _deep_calls() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, _DEPTH))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def to_markdown(html: str) -> str:
    """Return the page's own text as Markdown, without menus, scripts, controls and hidden parts."""
    from bs4 import BeautifulSoup, XMLParsedAsHTMLWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)  # XHTML is read as the HTML it also is
        soup = BeautifulSoup(html, "lxml")
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    remove_hidden(soup)
    for tag in soup.find_all([*_DROPPED, *_CONTROLS]):
        tag.decompose()
    for tag in soup.find_all("header"):
        if not tag.find(_HEADINGS):
            tag.decompose()
    body = _main_part(soup)
    for tag in soup.find_all("aside"):
        if not tag.find_parent(["main", "article"]):
            tag.decompose()
    tables = lift_tables(body)
    text = put_back(_markdown(body), tables)
    text = _BLANK_LINES.sub("\n\n", text.replace("\u00a0", " ")).strip()
    return f"# {title}\n\n{text}" if title and not body.find("h1") else text


def _markdown(body: Tag) -> str:
    from markdownify import markdownify

    text: str = markdownify(
        str(body),
        heading_style="ATX",
        bullets="-",
        autolinks=False,
        escape_asterisks=False,
        escape_underscores=False,
        escape_misc=False,
        strip=["a", "b", "strong", "i", "em", "code", "img", "title", "head"],
    )
    return text


def _main_part(soup: BeautifulSoup) -> Tag:
    whole = soup.body or soup
    for tag in soup.find_all(["main", "article"]):
        if len(tag.get_text()) >= _MAIN_SHARE * len(whole.get_text()):
            return tag
    return whole
