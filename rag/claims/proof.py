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
from collections.abc import Iterator, Sequence
from itertools import pairwise

from quantserve.rag.claims.english import PREPOSITIONS
from quantserve.rag.claims.reading import ADDRESSED, PAST, Reading, Unit, read
from quantserve.rag.text import split_sentences

_SUBJECT, _TOPIC = "subject", "topic"
_LOSABLE = frozenset(
    {"at", "in", "on", "for", "to", "of", "subject", "topic", "object", "에", "에서", "로", "의"}
)
"""Roles that a bare answer need not say."""
_STARTS_BLOCK = re.compile(r"\s*(?:[-*•|#>]|\d+[.)]\s|```|$)")
_ITEM = re.compile(r"\s*(?:[-*•]|\d+[.)])\s")
_CLOSING = " \t\r\n*_\"'”’)]"
"""What may stand behind the colon of a lead."""
_MOST_LED = 64
"""Units of the longest lead of a list in a list; below a longer one the outer lead stands."""
_ASKED = re.compile(r"[?？][\"'”’)\]*_]*\s*$")
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


def _leads(sentence: str) -> bool:
    """Whether a sentence begins what a list goes on with."""
    return sentence.rstrip(_CLOSING).endswith((":", "："))


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
        if not claim.units or self._is_echo(claim) or _ASKED.search(sentence):
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
            self._read[number] = list(self._statements(self._texts[number - 1]))
        return self._read[number]

    def _statements(self, text: str) -> Iterator[Reading]:
        """Read what a text states. It does not state what it asks, nor a list's items without their lead.

        "- theft" below "It does not cover:" says that theft is not covered; where the question says what the
        lead does, the item stands alone.
        """
        lead: Reading | None = None
        for sentence in whole_sentences(text):
            if _ASKED.search(sentence):
                lead = None
                continue
            reading = read(sentence)
            if lead is None or not _ITEM.match(sentence):
                yield reading
                lead = reading if _leads(sentence) else None
                continue
            below = reading.below(lead)
            yield below
            if reading.is_finite or any(lead.said <= asked.said for asked in self._questions):
                yield reading
            if _leads(sentence) and len(below.units) <= _MOST_LED:
                lead = below

    def _proves(self, source: Reading, claim: Reading) -> bool:
        for clause in source.clauses():
            if not may_mean(clause.persons, claim.persons):
                continue
            rest = left_over(clause, claim, self._questions)
            if rest is not None and (not rest or any(is_asked(rest, asked) for asked in self._questions)):
                return True
        return False


def may_mean(source: Sequence[str], claim: Sequence[str]) -> bool:
    """Whether a claim's pronouns may mean whom a source's mean: the same ones, in the same order.

    Where the source has names instead, one that stands for somebody spoken of may mean any of them.
    """
    wanted = [person for person in claim if source or person.rpartition(" ")[2] in ADDRESSED]
    known = iter(source)
    return all(person in known for person in wanted)


def left_over(clause: Reading, claim: Reading, questions: Sequence[Reading] = ()) -> list[Unit] | None:
    """Return what a clause says beyond a claim; None where it does not say all of the claim.

    Where a question speaks of the past, a bare answer to it does, too.
    """
    is_past = any(asked.is_past for asked in questions)
    used = _piece(clause, claim, questions) if not any(unit.role for unit in claim.units) else None
    used = _places(clause.units, claim.units, is_past) if used is None else used
    if used is None or _is_merged(clause, used):
        return None
    return [unit for index, unit in enumerate(clause.units) if index not in used]


def _places(clause: Sequence[Unit], claim: Sequence[Unit], is_past: bool) -> set[int] | None:
    """Return where the clause says each unit of the claim."""
    taken: dict[int, int] = {}
    for role in {_merged(unit.role) for unit in claim}:
        at = [index for index, unit in enumerate(clause) if _merged(unit.role) == role]
        for place, unit in enumerate(claim):
            if _merged(unit.role) != role:
                continue
            while at and not _is_said(clause[at[0]], unit, place, is_past):
                at.pop(0)
            if not at:
                return None
            taken[place] = at.pop(0)
    for (place, unit), (following, _) in pairwise(enumerate(claim)):
        # A number belongs to what stands behind it: "5 days" is not said by "5 hours and 3 days".
        if unit.is_number and taken[following] != taken[place] + 1:
            return None
    return set(taken.values())


def _is_said(unit: Unit, claimed: Unit, place: int, is_past: bool) -> bool:
    """Whether a unit says what is claimed, of the same time and in the same voice.

    The first word of a bare answer has lost its auxiliary: "kept in the cellar".
    """
    if unit.said != claimed.said or unit.ending != claimed.ending:
        return False
    is_bare = place == 0 and not claimed.auxiliary and (unit.auxiliary != PAST or is_past)
    return unit.auxiliary == claimed.auxiliary or is_bare


def _piece(clause: Reading, claim: Reading, questions: Sequence[Reading]) -> set[int] | None:
    """Return where a bare phrase stands, which has lost its role: "180 days" of "live for 180 days"."""
    is_past = any(asked.is_past for asked in questions)
    length = len(claim.units)
    for start in range(len(clause.units) - length + 1):
        piece = clause.units[start : start + length]
        if (
            len({unit.role for unit in piece}) == 1
            and all(
                _is_said(unit, claimed, place, is_past)
                for place, (unit, claimed) in enumerate(zip(piece, claim.units, strict=True))
            )
            and may_lose_role(piece, questions)
        ):
            return set(range(start, start + length))
    return None


def may_lose_role(piece: Sequence[Unit], questions: Sequence[Reading]) -> bool:
    """Whether a bare phrase still says what it said with its preposition or particle.

    "9 am" is no answer where it opens after 9 am. A role may be lost that only tells place, time or measure,
    and one that a question says itself; and where that ends with one ("vote for?"), no other may.
    """
    role = piece[0].role
    if not role:
        return True
    stranded = {unit.form for asked in questions for unit in asked.units if unit.form in PREPOSITIONS}
    said = stranded | {unit.role for asked in questions for unit in asked.units}
    if role in said:
        return True
    doer = role == "by" and not any(unit.is_number for unit in piece)
    return not stranded and (role in _LOSABLE or doer)


def _is_merged(clause: Reading, used: set[int]) -> bool:
    """Whether a claim takes parts of two parts ("5 dollars for adults, 2 for children"), or of one word."""
    units = clause.units
    if any(unit.is_joined and (at in used) != (at + 1 in used) for at, unit in enumerate(units[:-1])):
        return True
    ends = (0, *clause.edges, len(units))
    taken = [sum(at in used for at in range(start, end)) for start, end in pairwise(ends)]
    return sum(0 < count < end - start for count, (start, end) in zip(taken, pairwise(ends), strict=True)) > 1


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
