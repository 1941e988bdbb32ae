"""Base, candidate and base in float32 side by side on the short prompts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quantserve.quantize.gate.answers import Answer, malformed
from quantserve.quantize.gate.facts import Fact
from quantserve.quantize.gate.facts.checking import right
from quantserve.quantize.gate.facts.paired import Divergence, Paired, diverge, pair


@dataclass(frozen=True)
class Reply:
    """One model's answer to a short prompt, and what is to be said of it."""

    text: str
    right: bool
    malformed: bool
    """Empty, or repeating itself."""


@dataclass(frozen=True)
class Mark:
    """One prompt, answered by each model; `float32` is None where the base was not asked in it."""

    id: str
    language: str
    kind: str
    question: str
    base: Reply
    candidate: Reply
    float32: Reply | None


@dataclass(frozen=True)
class FactFindings:
    """What the short prompts showed.

    The noise floor is what the base's own answers change when nothing but its arithmetic does: as served
    (16 bits) against float32. `no_floor` says why there is none.
    """

    marks: tuple[Mark, ...]
    divergence: Divergence | None
    """Where the candidate's answers part from the base's; None where the engine gives no token ids."""
    floor: Divergence | None
    """Where the base's own in float32 do."""
    no_floor: str = ""

    def candidate_against_base(self, language: str | None = None) -> Paired:
        """Compare with the base as it is served."""
        some = self._some(language)
        return pair([mark.base.right for mark in some], [mark.candidate.right for mark in some])

    def candidate_against_float32(self, language: str | None = None) -> Paired | None:
        """Compare with the base in float32."""
        some = [(mark.float32, mark.candidate) for mark in self._some(language) if mark.float32]
        return pair([one.right for one, _ in some], [other.right for _, other in some]) if some else None

    def float32_against_base(self, language: str | None = None) -> Paired | None:
        """Compare the base with itself."""
        some = [(mark.base, mark.float32) for mark in self._some(language) if mark.float32]
        return pair([one.right for one, _ in some], [other.right for _, other in some]) if some else None

    def well_formed(self) -> Paired:
        """Compare with the base as it is served whether there is an answer that does not repeat itself."""
        return pair(
            [not mark.base.malformed for mark in self.marks],
            [not mark.candidate.malformed for mark in self.marks],
        )

    def well_formed_against_float32(self) -> Paired | None:
        """Compare the same with the base in float32."""
        some = [(mark.float32, mark.candidate) for mark in self.marks if mark.float32]
        return pair([not a.malformed for a, _ in some], [not b.malformed for _, b in some]) if some else None

    def lost(self) -> tuple[Mark, ...]:
        """Return the prompts that the base answers rightly, in float32 too, and the candidate does not."""
        return tuple(
            mark
            for mark in self.marks
            if mark.base.right and not mark.candidate.right and (mark.float32 is None or mark.float32.right)
        )

    def _some(self, language: str | None) -> list[Mark]:
        return [mark for mark in self.marks if language in (None, mark.language)]


def compare_facts(
    facts: Sequence[Fact],
    base: Sequence[Answer],
    candidate: Sequence[Answer],
    float32: Sequence[Answer] | None,
    no_floor: str = "",
) -> FactFindings:
    """Mark every answer and compare the models."""
    exact: Sequence[Answer | None] = [None] * len(facts) if float32 is None else float32
    marks = tuple(
        Mark(
            fact.id,
            fact.language,
            fact.kind,
            fact.question,
            _reply(fact, one),
            _reply(fact, other),
            None if own is None else _reply(fact, own),
        )
        for fact, one, other, own in zip(facts, base, candidate, exact, strict=True)
    )
    return FactFindings(
        marks, _divergence(base, candidate), None if float32 is None else _divergence(base, float32), no_floor
    )


def _reply(fact: Fact, answer: Answer) -> Reply:
    return Reply(answer.text, right(fact, answer.text), malformed(answer))


def _divergence(before: Sequence[Answer], after: Sequence[Answer]) -> Divergence | None:
    one, other = [answer.ids for answer in before], [answer.ids for answer in after]
    known = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    return diverge([a for a, _ in known], [b for _, b in known]) if known else None
