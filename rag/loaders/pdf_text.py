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
_LONGEST_NUMBER = 60
_PAGE_NUMBER = re.compile(
    r"^[-–—\s]{0,40}(?:page|쪽|p\.?)?\s{0,40}\d{1,4}(?:\s{0,40}(?:/|of)\s{0,40}\d{1,4})?\s{0,40}(?:쪽|페이지)?[-–—\s]{0,40}$",
    re.I,
)
_ENDS = re.compile(r"[.!?…:;。]['\"”’)\]]*$")
_NEW_BLOCK = re.compile(
    r"^(?:[•·▪◦‣○●■□◆▶➢*–—-]\s|\d{1,3}(?:\.\d{1,3})*[.)]?\s|[가-하][.)]\s|\(\d+\)|[①-⑳]|제\s?\d+\s?[장절조항])"
)
_HYPHENATED = re.compile(r"[a-z]-$")
_GLUED_CHARACTERS = 200
"""Of the text before a break, for the language model."""
_SHORT_LINE = 0.6
"""A line under this share of the page's usual width ends its paragraph."""
_WORD_BY_WORD = 0.7
"""From this share of breaks at which the language model asks for a space, every break is one."""

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
        return _shape(line) in repeated or (
            len(line) < _LONGEST_NUMBER and bool(_PAGE_NUMBER.match(line.strip()))
        )

    last = len(lines) - _EDGE_LINES
    return [
        line
        for place, line in enumerate(lines)
        if not ((place < _EDGE_LINES or place >= last) and is_running(line))
    ]


def is_hangul(character: str) -> bool:
    """Whether a character is a Korean syllable."""
    return "가" <= character <= "힣"


def _breaks_in_hangul(pages: list[list[str]]) -> tuple[int, int]:
    """Count line breaks between Hangul: all of them, and those after a blank."""
    total = blank = 0
    for lines in pages:
        for line, following in pairwise(lines):
            if is_hangul(line.rstrip()[-1:]) and is_hangul(following[:1]):
                total += 1
                blank += line.endswith(" ")
    return total, blank


def kiwi_glue(pieces: list[str]) -> str:
    """Join pieces of Korean text with a blank or without one, as Kiwi's language model would."""
    from quantserve.rag.store.korean import kiwi

    glued: str = kiwi().glue(pieces)
    return glued


def join_lines(pages: list[list[str]], glue: Glue = kiwi_glue) -> list[str]:
    """Join each page's lines into paragraphs (separated by newlines).

    A hyphen at a line's end joins without it. Between Hangul syllables a break falls between words in
    documents set word by word, and anywhere in those set syllable by syllable. Where the document marks
    word ends with a blank before the break, a break without one is inside a word. Where it marks none,
    `glue` (Kiwi's language model) is asked for each break, and its answers together tell how the
    document is set: word by word when most ask for a space, and then every break is a space. Else each
    answer counts for its own break.
    """
    total, blank = _breaks_in_hangul(pages)
    if blank > 0 and blank >= total * 0.2:
        return [_join_page(lines, lambda _before, _after: False) for lines in pages]
    answers: list[bool] = []

    def ask(before: str, after: str) -> bool:
        answers.append(_glue_wants_space(before, after, glue))
        return answers[-1]

    joined = [_join_page(lines, ask) for lines in pages]
    if answers and sum(answers) >= len(answers) * _WORD_BY_WORD:
        return [_join_page(lines, lambda _before, _after: True) for lines in pages]
    return joined


def _join_page(lines: list[str], wants_space: Callable[[str, str], bool]) -> str:
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
        elif _HYPHENATED.search(text[-2:]) and stripped[0].islower():
            text = text[:-1] + stripped
        elif _starts_block(previous, line, usual):
            text += "\n" + stripped
        elif _may_be_one_word(previous, stripped):
            text += (" " if wants_space(text, stripped) else "") + stripped
        else:
            text += " " + stripped
        previous = line
    return text.replace(_BROKEN, "")


def _may_be_one_word(previous: str, line: str) -> bool:
    """Whether the break may be inside a Korean word, or before a particle that follows a foreign one."""
    last = previous[-1]
    return is_hangul(line[0]) and (is_hangul(last) or (last.isascii() and last.isalnum()))


def _starts_block(previous: str, line: str, usual: int) -> bool:
    short = len(previous.rstrip()) < usual * _SHORT_LINE
    return (
        line.startswith("| ")  # a table's row
        or previous.startswith("| ")
        or bool(_NEW_BLOCK.match(line))
        or short
        or (bool(_ENDS.search(previous.rstrip())) and len(previous) < usual * 0.85)
    )


def _glue_wants_space(text: str, line: str, glue: Glue) -> bool:
    # The last and the first words are enough for the language model, and keep it fast.
    last = text[-_GLUED_CHARACTERS:].rsplit(" ", 3)[-3:]
    before, after = " ".join(last), " ".join(line[:_GLUED_CHARACTERS].split(" ")[:3])
    return glue([before, after]).startswith(before + " ")
