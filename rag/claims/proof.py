"""Whether passages say what a sentence says. Pure.

A claim is proved by one sentence of a passage, or one clause of it that stands alone, when

1. every unit of the claim stands in it, in the same role, in the same order within a role, and negated where
   the claim negates it: nothing is invented, and nothing is turned round;
2. what the sentence says beyond the claim stands in the question, in the same roles and order: nothing that
   limits the claim was left out, and a pronoun or a bare answer ("180 days.") is about what was asked.

The question never supports a claim, it only tells what need not be said again. A claim all of whose units
stand in the question says nothing: it is an echo, whatever the passages say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from rag.claims.reading import Reading, Unit, read
from rag.text import split_sentences

_SUBJECT, _TOPIC = "subject", "topic"
_STARTS_BLOCK = re.compile(r"\s*(?:[-*•|#>]|\d+[.)]\s|```|$)")
_ENDED = re.compile(r"[.!?…。:;|][\"'”’)\]]*\s*$")
_WRAPPED = 40
"""A line of at least so many characters without a stop goes on in the next one."""


def whole_sentences(text: str) -> list[str]:
    """Return a text's sentences, those that were wrapped over several lines in one piece."""
    found: list[str] = []
    line = ""
    is_open = False
    for sentence in split_sentences(text):
        if is_open and not _STARTS_BLOCK.match(sentence):
            found[-1] = f"{found[-1].rstrip()} {sentence.lstrip()}"
        else:
            found.append(sentence)
        before, newline, rest = (line + sentence).rpartition("\n")
        last = before.rpartition("\n")[2]
        is_open = (
            bool(newline)
            and not rest.strip()
            and len(last.rstrip()) >= _WRAPPED
            and not _ENDED.search(last)
            and not _STARTS_BLOCK.match(last)
        )
        line = rest
    return [sentence.strip() for sentence in found if sentence.strip()]


class Prover:
    """Proves sentences of one answer by the passages it was given."""

    def __init__(self, questions: Sequence[str], texts: Sequence[str]) -> None:
        """`questions` are what was asked, also in other words; `texts` the passages, numbered from 1."""
        self._questions = [read(question) for question in questions if question]
        self._texts = texts
        self._read: dict[int, list[Reading]] = {}

    def says_nothing(self, sentence: str) -> bool:
        """Whether a sentence only says again what was asked."""
        return self._is_echo(read(sentence))

    def proofs(self, sentence: str) -> tuple[int, ...]:
        """Return the numbers of the passages that prove a sentence; none for an echo."""
        claim = read(sentence)
        if not claim.units or self._is_echo(claim):
            return ()
        return tuple(
            number
            for number in range(1, len(self._texts) + 1)
            if any(self._proves(source, claim) for source in self._readings(number))
        )

    def _is_echo(self, claim: Reading) -> bool:
        return any(claim.said <= question.said for question in self._questions)

    def _readings(self, number: int) -> list[Reading]:
        if number not in self._read:
            self._read[number] = [read(sentence) for sentence in whole_sentences(self._texts[number - 1])]
        return self._read[number]

    def _proves(self, source: Reading, claim: Reading) -> bool:
        for clause in source.clauses():
            rest = left_over(clause, claim.units)
            if rest is not None and (not rest or any(is_asked(rest, asked) for asked in self._questions)):
                return True
        return False


def left_over(clause: Sequence[Unit], claim: Sequence[Unit]) -> list[Unit] | None:
    """Return what a clause says beyond a claim; None where it does not say all of the claim."""
    if not any(unit.role for unit in claim):
        bare = _piece_left(clause, claim)
        if bare is not None:
            return bare
    taken: dict[int, int] = {}
    for role in {_merged(unit.role) for unit in claim}:
        at = [index for index, unit in enumerate(clause) if _merged(unit.role) == role]
        for place, unit in enumerate(claim):
            if _merged(unit.role) != role:
                continue
            while at and clause[at[0]].said != unit.said:
                at.pop(0)
            if not at:
                return None
            taken[place] = at.pop(0)
    for (place, unit), (following, _) in pairwise(enumerate(claim)):
        # A number belongs to what stands behind it: "5 days" is not said by "5 hours and 3 days".
        if unit.is_number and taken[following] != taken[place] + 1:
            return None
    used = set(taken.values())
    return [unit for index, unit in enumerate(clause) if index not in used]


def _piece_left(clause: Sequence[Unit], claim: Sequence[Unit]) -> list[Unit] | None:
    """Return what stands round a bare phrase, which has lost its role: "180 days" of "live for 180 days"."""
    wanted = [unit.said for unit in claim]
    for start in range(len(clause) - len(claim) + 1):
        piece = clause[start : start + len(claim)]
        if [unit.said for unit in piece] == wanted and len({unit.role for unit in piece}) == 1:
            return [*clause[:start], *clause[start + len(claim) :]]
    return None


def is_asked(rest: Sequence[Unit], question: Reading) -> bool:
    """Whether a question says all of `rest`, in its order within each role; a topic may have any role."""
    if any(unit.is_negated for unit in rest) and any(
        unit.said not in question.said for unit in rest if unit.is_negated
    ):
        return False
    for role in {_merged(unit.role) for unit in rest}:
        wanted = [unit for unit in rest if _merged(unit.role) == role]
        known = iter(unit for unit in question.units if unit.role == _TOPIC or _merged(unit.role) == role)
        if not all(any(unit.said == one.said for one in known) for unit in wanted):
            return False
    return True


def _merged(role: str) -> str:
    """A topic is taken for a subject, which it mostly is."""
    return _SUBJECT if role == _TOPIC else role
