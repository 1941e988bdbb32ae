"""A sentence as its units: what is left of it when articles, copulas and endings are gone.

    read("The keeper does not light the lamp at 10,000 lux.")
    # keeper, not light, lamp, 10000 (at), lux (at)

A unit carries its role: the preposition or the particle that says what it does in the sentence. So "A is
bigger than B" and "B is bigger than A" have the same words and other units, and words whose role is marked
may move.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

_HANGUL = re.compile(r"[\uac00-\ud7a3]")
_MARKER = re.compile(r"\s*(?:\d{1,2}[.)]|[-*•#>]+)\s+(?=[^\W\d])")
"""What numbers or marks an item of a list or a heading; it is no part of what is said."""


@dataclass(frozen=True)
class Unit:
    """One word or number that means something.

    `form` is its stem, or the number's digits; `role` the preposition or particle that governs it, ""
    without; `is_negated` whether "not" or its kin bears on it.
    """

    form: str
    role: str = ""
    is_negated: bool = False
    is_number: bool = False

    @property
    def said(self) -> tuple[str, bool]:
        """What it says whatever its role."""
        return self.form, self.is_negated


@dataclass(frozen=True)
class Reading:
    """A sentence's units in their order; `bounds` are the indices where a clause of its own begins.

    `asks` is whether it asks for something unknown (what, which, 며칠), as no yes or no question does.
    """

    units: tuple[Unit, ...]
    bounds: tuple[int, ...] = ()
    asks: bool = False

    @property
    def said(self) -> frozenset[tuple[str, bool]]:
        """What is said of anything, whatever the roles."""
        return frozenset(unit.said for unit in self.units)

    def clauses(self) -> list[Sequence[Unit]]:
        """Return the whole and, where it is of several clauses that stand alone, each of them."""
        if not self.bounds:
            return [self.units]
        edges = (0, *self.bounds, len(self.units))
        parts = [self.units[start:end] for start, end in pairwise(edges)]
        return [self.units, *(part for part in parts if part)]


@functools.lru_cache(4096)
def read(sentence: str) -> Reading:
    """Take a sentence apart by the grammar of its language."""
    marker = _MARKER.match(sentence)
    if marker:
        sentence = sentence[marker.end() :]
    if _HANGUL.search(sentence):
        from rag.claims.korean import read_korean

        return read_korean(sentence)
    from rag.claims.english import read_english

    return read_english(sentence)
