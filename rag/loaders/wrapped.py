"""Text whose lines were broken at a fixed width: its paragraphs are put together again.

A break inside a word hides the word from every search, and one inside a sentence cuts it in two. A text is
taken as wrapped on evidence alone: a break that Kiwi's language model finds inside a Korean word, or
paragraphs of which no line could have held the next line's first word. Lists, tables, verses and logs have
neither.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from quantserve.rag.loaders.pdf_text import is_hangul, kiwi_glue

Glue = Callable[[list[str]], str]
_BLOCK_LINES = 3
"""Lines of a paragraph that is evidence by its width."""
_EVIDENCE = 0.6
"""Share of such paragraphs that must be."""
_LEAST_WIDTH, _MOST_WIDTH = 40, 130
_SHORT_LINE = 0.6
"""A line under this share of the text's width ends its paragraph."""
_FULL_LINE = 0.75
"""From this share of the width a line may have been broken inside a word."""
_MOST_ASKED = 200
_CONTEXT_CHARACTERS = 40
_ITEM = re.compile(
    r"\s*(?:[-*+•·▪◦○●□■◆▶※>|#]|\d{1,3}(?:\.\d{1,3})*[.)]?\s|[가-하][.)]\s|\(\d+\)|[①-⑳]"
    r"|제\s?\d+\s?[장절조항]|[^\s:]{1,20}:\s)"
)
"""How a line begins that begins something: an item, a clause, a speaker."""
_COLUMNS = re.compile(r"\S(?: {3,}|\t)\S|\|")


def unwrapped(text: str, glue: Glue = kiwi_glue) -> str:
    """Return a text with its wrapped paragraphs on one line each; any other text as it is."""
    lines = text.split("\n")
    widths = [_width(line.rstrip()) for line in lines]
    width = max((width for line, width in zip(lines, widths, strict=True) if " " in line.strip()), default=0)
    if not _LEAST_WIDTH <= width <= _MOST_WIDTH:
        return text
    inner = [
        number
        for number, (line, following) in enumerate(pairwise(lines))
        if widths[number] >= width * _SHORT_LINE and _may_go_on(line, following)
    ]
    if not inner:
        return text
    in_word = _in_word(lines, [number for number in inner if widths[number] >= width * _FULL_LINE], glue)
    if not in_word and not _is_full(lines, widths, inner):
        return text
    return _joined(lines, frozenset(inner), in_word)


def _may_go_on(line: str, following: str) -> bool:
    """Whether a paragraph may go on over a break, by the look of its two sides."""
    if not line.strip() or not following.strip() or _ITEM.match(following):
        return False
    return not _COLUMNS.search(line.strip()) and not _COLUMNS.search(following.strip())


def _in_word(lines: Sequence[str], inner: Sequence[int], glue: Glue) -> frozenset[int]:
    """Return the breaks inside a Korean word."""
    between = [
        number
        for number in inner
        if is_hangul(lines[number].rstrip()[-1]) and is_hangul(lines[number + 1].lstrip()[0])
    ]
    found = set()
    for number in between[:_MOST_ASKED]:
        before = lines[number].strip()[-_CONTEXT_CHARACTERS:].split(" ")[-3:]
        after = lines[number + 1].strip()[:_CONTEXT_CHARACTERS].split(" ")[:3]
        start = " ".join(before)
        if not glue([start, " ".join(after)]).startswith(start + " "):
            found.add(number)
    return frozenset(found)


def _is_full(lines: Sequence[str], widths: Sequence[int], inner: Sequence[int]) -> bool:
    """Whether most paragraphs of several lines leave no room for the word after each break."""
    full = several = 0
    for block in _blocks(lines):
        if len(block) < _BLOCK_LINES:
            continue
        several += 1
        edge = max(widths[number] for number in block)
        known = set(inner)
        full += all(
            number in known and widths[number] + 1 + _width(lines[number + 1].split(maxsplit=1)[0]) > edge
            for number in block[:-1]
        )
    return several > 0 and full >= several * _EVIDENCE


def _blocks(lines: Sequence[str]) -> Iterator[range]:
    start = 0
    for number in range(len(lines) + 1):
        if number == len(lines) or not lines[number].strip():
            if number > start:
                yield range(start, number)
            start = number + 1


def _joined(lines: Sequence[str], inner: frozenset[int], in_word: frozenset[int]) -> str:
    parts = [lines[0]]
    for number, line in enumerate(lines[1:]):
        if number not in inner:
            parts.append("\n" + line)
        else:
            parts[-1] = parts[-1].rstrip()
            parts.append(("" if number in in_word else " ") + line.lstrip())
    return "".join(parts)


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
