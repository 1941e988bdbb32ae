"""What a set must be before it ships: whole, distinct, in its language, and apart from the other set.

Two documents overlap when they share a shingle: eight words in a row, compared without case, punctuation
and width. Eight words is short enough to find a reworded paragraph and long enough that two authors
rarely write the same ones by chance.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from quantserve.quantize.calibration.corpus.reading import Source

SHINGLE_WORDS = 8
MIN_CHARACTERS = 60
# In these kinds the Korean set quotes code or another language at length.
MIXED_KINDS = frozenset({"code", "data", "translation"})
MIN_HANGUL_SHARE = 0.35
_HANGUL = re.compile(r"[가-힣]")


def shingles(text: str) -> set[tuple[str, ...]]:
    """Return every run of `SHINGLE_WORDS` words; a shorter text is one shingle."""
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())
    last = max(len(words) - SHINGLE_WORDS, 0)
    return {tuple(words[start : start + SHINGLE_WORDS]) for start in range(last + 1)}


def overlaps(sources: Iterable[Source], others: Iterable[Source]) -> list[str]:
    """Return one line for each pair of distinct documents that share a shingle."""
    held: dict[tuple[str, ...], list[Source]] = {}
    for other in others:
        for shingle in shingles(other.text):
            held.setdefault(shingle, []).append(other)
    found: dict[tuple[str, str], str] = {}
    for source in sources:
        for shingle in sorted(shingles(source.text) & held.keys()):
            for other in held[shingle]:
                if other is not source:
                    found.setdefault((source.id, other.id), " ".join(shingle))
    return [f"{first} and {second} share: {words}" for (first, second), words in found.items()]


def faults(sources: list[Source]) -> list[str]:
    """Return one line for each thing wrong inside one set."""
    lines = [f"{name} occurs {n} times" for name, n in Counter(s.id for s in sources).items() if n > 1]
    for source in sources:
        text = source.text
        if len(text) < MIN_CHARACTERS or not all(turn.strip() for _, turn in source.turns):
            lines.append(f"{source.id} is too short or has an empty turn")
        if text != unicodedata.normalize("NFC", text):
            lines.append(f"{source.id} is not in Unicode normal form C")
        if re.search(r"[\r\t\0]| $", text, flags=re.MULTILINE):
            lines.append(f"{source.id} has a tab, a carriage return or a space at a line's end")
        if source.kind not in MIXED_KINDS and not _in_language(source):
            lines.append(f"{source.id} is not in the language of its folder")
    return lines


def _in_language(source: Source) -> bool:
    letters = [c for c in source.text if c.isalpha()]
    share = len(_HANGUL.findall(source.text)) / max(len(letters), 1)
    return share >= MIN_HANGUL_SHARE if source.language == "ko" else share == 0
