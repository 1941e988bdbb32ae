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
from dataclasses import dataclass, replace
from itertools import pairwise

PAST = "past"
"""The auxiliary of what is no longer so."""
ADDRESSED = frozenset({"i", "we", "you", "나", "저", "우리", "저희", "너", "너희", "당신", "여러분"})
"""Pronouns of who speaks and who is spoken to; the others stand for a name."""
_HANGUL = re.compile(r"[\uac00-\ud7a3]")
_MARKER = re.compile(r"\s*(?:\d{1,2}[.)]|[-*•#>]+)\s+(?=[^\W\d])")
"""What numbers or marks an item of a list or a heading; it is no part of what is said."""


@dataclass(frozen=True)
class Unit:
    """One word or number that means something.

    `form` is its stem, or the number's digits; `role` the preposition or particle that governs it, ""
    without; `is_negated` whether "not" or its kin bears on it. `auxiliary` is what the verb before it says of
    voice and time (is charged, was free), `ending` what the stem has lost of the same (charging, charged);
    `is_joined` is whether a hyphen joins it to what follows (ex-employee).
    """

    form: str
    role: str = ""
    is_negated: bool = False
    is_number: bool = False
    auxiliary: str = ""
    ending: str = ""
    is_joined: bool = False

    @property
    def said(self) -> tuple[str, bool]:
        """What it says whatever its role."""
        return self.form, self.is_negated


@dataclass(frozen=True)
class Reading:
    """A sentence's units in their order; `bounds` are the indices where a clause of its own begins.

    `edges` are those where a part of it begins, of its own or not: behind a comma, at "and". `persons` are
    its personal pronouns in their order, each behind its role. `is_finite` is whether it is a sentence for
    certain, not a phrase. `asks` is whether it asks for something unknown (what, which, 며칠), as no yes or
    no question does.
    """

    units: tuple[Unit, ...]
    bounds: tuple[int, ...] = ()
    asks: bool = False
    edges: tuple[int, ...] = ()
    persons: tuple[str, ...] = ()
    is_finite: bool = False

    @property
    def said(self) -> frozenset[tuple[str, bool]]:
        """What is said of anything, whatever the roles."""
        return frozenset(unit.said for unit in self.units)

    def below(self, lead: Reading) -> Reading:
        """Return it as the end of a sentence that `lead` begins: "It does not cover:" and "- theft"."""
        begun = len(lead.units)
        return replace(
            self,
            units=lead.units + self.units,
            bounds=(),
            edges=(*lead.edges, begun, *(begun + edge for edge in self.edges)),
            persons=lead.persons + self.persons,
        )

    @property
    def is_past(self) -> bool:
        """Whether it speaks of what was."""
        return any(unit.auxiliary == PAST for unit in self.units)

    def clauses(self) -> list[Reading]:
        """Return the whole and, where it is of several clauses that stand alone, each of them."""
        if not self.bounds:
            return [self]
        ends = (0, *self.bounds, len(self.units))
        parts = [
            replace(
                self,
                units=self.units[start:end],
                bounds=(),
                edges=tuple(edge - start for edge in self.edges if start < edge < end),
            )
            for start, end in pairwise(ends)
        ]
        return [self, *(part for part in parts if part.units)]


@functools.lru_cache(4096)
def read(sentence: str) -> Reading:
    """Take a sentence apart by the grammar of its language."""
    marker = _MARKER.match(sentence)
    if marker:
        sentence = sentence[marker.end() :]
    if _HANGUL.search(sentence):
        from quantserve.rag.claims.korean import read_korean

        return read_korean(sentence)
    from quantserve.rag.claims.english import read_english

    return read_english(sentence)
