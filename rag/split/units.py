"""What a chunk is packed from: paragraphs, tables and code that fit, else their sentences or lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise

from quantserve.rag.text import hangul_share, pieces_of, split_sentences

_ANALYSED_CHARACTERS = 4000
Measure = Callable[[str], int]
"""Size of a text, in tokens or characters."""
_FENCE = re.compile(r"^[ ]{0,3}(```+|~~~+)")
_TABLE_ROW = re.compile(r"^\s*\|.*\|\s*$")


def blocks(text: str) -> Iterator[tuple[str, bool]]:
    """Cut a text into (block, whether it is a table or code); joined they are the text again."""
    lines: list[str] = []
    kind = "prose"
    fence = ""
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if kind == "code":
            lines.append(line)
            if mark and mark[1].startswith(fence):
                yield "".join(lines), True
                lines, kind = [], "prose"
            continue
        found = "code" if mark else "table" if _TABLE_ROW.match(line) else "prose"
        if found != kind or (kind == "prose" and lines and not lines[-1].strip() and line.strip()):
            if lines:
                yield "".join(lines), kind != "prose"
            lines, kind = [], found
            fence = mark[1] if mark else ""
        lines.append(line)
    if lines:
        yield "".join(lines), kind != "prose"


def units(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Return the pieces that a chunk is packed from; joined they are the text again.

    A block that fits is one piece. Of one that does not, a table or code gives its lines, and prose its
    sentences; a Korean one that is still too long (no full stop in it) is cut by Kiwi's sentence finder.
    """
    found: list[str] = []
    for block, is_kept_whole in blocks(text):
        if fits(block):
            found.append(block)
        elif is_kept_whole:
            found += block.splitlines(keepends=True)
        else:
            for sentence in split_sentences(block):
                found += [sentence] if fits(sentence) else _by_kiwi(sentence)
    return found


def _by_kiwi(text: str) -> list[str]:
    if hangul_share(text) < 0.5:
        return [text]
    from quantserve.rag.store.korean import kiwi

    found: list[str] = []
    for piece in pieces_of(text, _ANALYSED_CHARACTERS):
        starts = [sentence.start for sentence in kiwi().split_into_sents(piece)]
        edges = [0, *starts[1:], len(piece)]
        found += [piece[start:end] for start, end in pairwise(edges)]
    return found
