"""Make running text of what a PDF page gives: characters, running heads, and broken lines mended."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

_CHARACTERS = str.maketrans(
    {
        "\u2010": "-",  # hyphen
        "\u2011": "-",  # non-breaking hyphen, which Korean PDFs carry for every hyphen
        "\u00ad": None,  # soft hyphen
        "\u200b": None,  # zero-width space
        "\ufeff": None,
        "\u00a0": " ",
        "\u0000": None,
        "\x02": "\ufffe",  # PDFium marks a hyphen that ends a line with one of these two
    }
)
_BROKEN = "\ufffe"
_DIGITS = re.compile(r"\d+")
_EDGE_LINES = 2
_PAGE_NUMBER = re.compile(
    r"^[-–—\s]*(?:page|쪽|p\.?)?\s*\d{1,4}(?:\s*(?:/|of)\s*\d{1,4})?\s*(?:쪽|페이지)?[-–—\s]*$", re.I
)
_ENDS = re.compile(r"[.!?…:;。]['\"”’)\]]*$")
_NEW_BLOCK = re.compile(
    r"^(?:[•·▪◦‣○●■□◆▶➢*–—-]\s|\d{1,3}(?:\.\d{1,3})*[.)]?\s|[가-하][.)]\s|\(\d+\)|[①-⑳]|제\s?\d+\s?[장절조항])"
)
_SHORT_LINE = 0.6
"""A line under this share of the page's usual width ends its paragraph."""

Glue = Callable[[list[str]], str]


def clean_page(text: str) -> list[str]:
    """Return a page's lines in NFC with plain hyphens; a trailing blank tells of a word's end and stays."""
    text = unicodedata.normalize("NFC", text.translate(_CHARACTERS))
    lines = [
        re.sub(r"[ \t]+", " ", line).lstrip()
        for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    ]
    return [line for line in lines if line.strip()]


def _shape(line: str) -> str:
    return _DIGITS.sub("#", line.strip())


def running_lines(pages: list[list[str]]) -> set[str]:
    """Return heads and feet: lines (digits aside) at the edge of at least three pages and half of all."""
    counts: Counter[str] = Counter()
    for lines in pages:
        edges = lines[:_EDGE_LINES] + lines[-_EDGE_LINES:]
        counts.update({_shape(line) for line in edges})
    return {shape for shape, count in counts.items() if count >= max(3, len(pages) / 2)}


def without_running_lines(lines: list[str], repeated: set[str]) -> list[str]:
    """Drop heads, feet and bare page numbers from a page's edges."""

    def is_running(line: str) -> bool:
        return _shape(line) in repeated or bool(_PAGE_NUMBER.match(line.strip()))

    last = len(lines) - _EDGE_LINES
    return [
        line
        for place, line in enumerate(lines)
        if not ((place < _EDGE_LINES or place >= last) and is_running(line))
    ]


def _is_hangul(character: str) -> bool:
    return "가" <= character <= "힣"


def _breaks_in_hangul(pages: list[list[str]]) -> tuple[int, int]:
    """Count line breaks between Hangul: all of them, and those after a blank."""
    total = blank = 0
    for lines in pages:
        for line, following in pairwise(lines):
            if _is_hangul(line.rstrip()[-1:]) and _is_hangul(following[:1]):
                total += 1
                blank += line.endswith(" ")
    return total, blank


def _kiwi_glue(pieces: list[str]) -> str:
    from rag.store.korean import kiwi

    glued: str = kiwi().glue(pieces)
    return glued


def join_lines(pages: list[list[str]], glue: Glue = _kiwi_glue) -> list[str]:
    """Join each page's lines into paragraphs (separated by newlines).

    A hyphen at a line's end joins without it. Between Hangul syllables a break may fall inside a
    word: where the document marks word ends with a blank before the break, a break without one is
    inside a word; where it marks none, `glue` (Kiwi's language model) decides.
    """
    total, blank = _breaks_in_hangul(pages)
    marked = blank > 0 and blank >= total * 0.2
    return [_join_page(lines, marked, glue) for lines in pages]


def _join_page(lines: list[str], marked: bool, glue: Glue) -> str:
    widths = sorted(len(line) for line in lines)
    usual = widths[int(len(widths) * 0.8)] if widths else 0
    text = ""
    previous = ""
    for line in lines:
        stripped = line.rstrip()
        if not previous:
            text = stripped
        elif previous.rstrip().endswith(_BROKEN):
            text = text.removesuffix(_BROKEN) + stripped
        elif re.search(r"[a-z]-$", text) and stripped[0].islower():
            text = text[:-1] + stripped
        elif _starts_block(previous, line, usual):
            text += "\n" + stripped
        elif _is_hangul(previous.rstrip()[-1]) and _is_hangul(stripped[0]) and not previous.endswith(" "):
            text = _join_hangul(text, stripped, marked, glue)
        else:
            text += " " + stripped
        previous = line
    return text.replace(_BROKEN, "")


def _starts_block(previous: str, line: str, usual: int) -> bool:
    short = len(previous.rstrip()) < usual * _SHORT_LINE
    return (
        bool(_NEW_BLOCK.match(line))
        or short
        or (bool(_ENDS.search(previous.rstrip())) and len(previous) < usual * 0.85)
    )


def _join_hangul(text: str, line: str, marked: bool, glue: Glue) -> str:
    if marked:
        return text + line
    # The last and the first words are enough for the language model, and keep it fast.
    tail, head = text.rsplit(" ", 3)[-3:], line.split(" ")[:3]
    before, after = " ".join(tail), " ".join(head)
    joined = glue([before, after])
    separator = " " if joined.startswith(before + " ") else ""
    return text + separator + line
