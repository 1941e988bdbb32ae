"""HTML: the main part of the page as Markdown (headings, tables, lists and code stay), cut at headings."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import UnreadableDocument
from rag.loaders.document import Sections, Warn
from rag.loaders.encoding import decode, read_whole
from rag.loaders.markdown import split_headings

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

_DECLARED = re.compile(rb"""<meta\s[^>]{0,500}?charset\s{0,20}=\s{0,20}["']?\s{0,20}([\w-]{1,40})""", re.I)
_KOREAN_NAMES = frozenset({"euc-kr", "euckr", "ks_c_5601-1987", "ksc5601", "windows-949"})
_DROPPED = ("script", "style", "noscript", "template", "nav", "aside", "footer", "form", "iframe", "svg")
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_BLANK_LINES = re.compile(r"\n{3,}")
_MAIN_SHARE = 0.5


def sections(path: Path, warn: Warn) -> Sections:
    """Read an HTML file.

    Raises:
        UnreadableDocument: it is too large, or nested too deeply.
    """
    try:
        text = to_markdown(_decode(read_whole(path), path.name))
    except RecursionError as error:
        raise UnreadableDocument(
            f"{path.name}: is nested too deeply", mend="Save the page's text as a file and give that"
        ) from error
    yield from split_headings(text)


def _decode(data: bytes, name: str) -> str:
    """Decode by mark, by the declared encoding where it holds, else as any text."""
    declared = _DECLARED.search(data[:4096])
    if declared and not data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        label = declared[1].decode("ascii").lower()
        try:
            return data.decode("cp949" if label in _KOREAN_NAMES else label)
        except (LookupError, UnicodeDecodeError):
            pass  # declared wrongly, as pages often are: what the bytes say counts
    return decode(data, name)


def to_markdown(html: str) -> str:
    """Return the page's own text as Markdown, without menus, scripts, forms and hidden parts."""
    from bs4 import BeautifulSoup
    from markdownify import markdownify

    soup = BeautifulSoup(html, "lxml")
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    for tag in soup.find_all(_DROPPED):
        tag.decompose()
    for tag in soup.select("[hidden], [aria-hidden=true]"):
        tag.decompose()
    for tag in soup.find_all("header"):
        if not tag.find(_HEADINGS):
            tag.decompose()
    body = _main_part(soup)
    text = markdownify(
        str(body),
        heading_style="ATX",
        bullets="-",
        autolinks=False,
        escape_asterisks=False,
        escape_underscores=False,
        escape_misc=False,
        strip=["a", "b", "strong", "i", "em", "code", "img", "title", "head"],
        table_infer_header=True,
    )
    text = _BLANK_LINES.sub("\n\n", text.replace("\u00a0", " ")).strip()
    return f"# {title}\n\n{text}" if title and not body.find("h1") else text


def _main_part(soup: BeautifulSoup) -> Tag:
    whole = soup.body or soup
    for tag in soup.find_all(["main", "article"]):
        if len(tag.get_text()) >= _MAIN_SHARE * len(whole.get_text()):
            return tag
    return whole
