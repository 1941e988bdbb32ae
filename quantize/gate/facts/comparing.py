"""Two models' answers to the same short prompts: which were lost, which won, and is that more than chance?

McNemar's test (McNemar 1947, Psychometrika 12) looks only at the prompts on which one model is right and
the other wrong. If the candidate were as good as the base, each of those would be as likely a loss as a
gain: losses ~ Binomial(losses + gains, 1/2). The one-sided exact p-value is the chance of at least as many
losses. A prompt that neither answers, or both do, says nothing, so a weak base costs power, not fairness.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from quantserve.quantize.gate.facts import Fact
from quantserve.quantize.gate.facts.answers import ChatAnswer, malformed
from quantserve.quantize.gate.facts.checking import is_right


@dataclass(frozen=True)
class Paired:
    """How one model's answers compare with another's on the same prompts."""

    asked: int
    before: int
    """Right answers of the model compared with."""
    after: int
    """Right answers of the model that is judged."""
    lost: int
    """Right before, wrong after."""
    won: int
    """Wrong before, right after."""

    @property
    def p(self) -> float:
        """Chance of so many losses among the prompts that changed, were both models equally good."""
        return p_of_losses(self.lost, self.won)


def pair_marks(before: Sequence[bool], after: Sequence[bool]) -> Paired:
    """Compare two models' marks, prompt by prompt."""
    both = list(zip(before, after, strict=True))
    return Paired(
        asked=len(both),
        before=sum(before),
        after=sum(after),
        lost=both.count((True, False)),
        won=both.count((False, True)),
    )


def p_of_losses(lost: int, won: int) -> float:
    """Return P(X ≥ lost) for X ~ Binomial(lost + won, 1/2); 1 where nothing changed."""
    changed = lost + won
    at_least = sum(math.comb(changed, k) for k in range(lost, changed + 1))
    return at_least / (1 << changed)


@dataclass(frozen=True)
class Divergence:
    """Where greedy answers part from another model's answers to the same prompts.

    A token after the first that differs is not compared: it answers another text. So each answer ends at
    its first difference, or unparted at its end, as in survival analysis, and the rate is the maximum
    likelihood estimate of a constant hazard: differences over tokens that could differ.
    """

    answers: int
    parted: int
    """Answers that differ somewhere."""
    tokens: int
    """Tokens up to each answer's first difference, that one included, or to its end."""

    @property
    def rate(self) -> float:
        """Chance for a token to be the first that differs; 0 where there are none."""
        return self.parted / self.tokens if self.tokens else 0.0

    @property
    def same_share(self) -> float:
        """Share of answers that are the same to the last token."""
        return 1 - self.parted / self.answers if self.answers else 1.0


def divergence_of(before: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> Divergence:
    """Compare greedy token ids, answer by answer. One that ends where the other goes on differs there."""
    parted = tokens = 0
    for one, other in zip(before, after, strict=True):
        same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
        if same is None and len(one) != len(other):
            same = min(len(one), len(other))
        parted += same is not None
        tokens += len(one) if same is None else same + 1
    return Divergence(len(before), parted, tokens)


@dataclass(frozen=True)
class FactReply:
    """One model's answer to a short prompt, and what is to be said of it."""

    text: str
    right: bool
    malformed: bool
    """Empty, or repeating itself."""


@dataclass(frozen=True)
class FactMark:
    """One prompt, answered by each model; `float32` is None where the base was not asked in it."""

    id: str
    language: str
    kind: str
    question: str
    base: FactReply
    candidate: FactReply
    float32: FactReply | None


@dataclass(frozen=True)
class FactFindings:
    """What the short prompts showed.

    The noise floor is what the base's own answers change when nothing but its arithmetic does: as served
    (16 bits) against float32. `no_floor` says why there is none.
    """

    marks: tuple[FactMark, ...]
    divergence: Divergence | None
    """Where the candidate's answers part from the base's; None where the engine gives no token ids."""
    floor: Divergence | None
    """Where the base's own in float32 do."""
    no_floor: str = ""

    def candidate_against_base(self, language: str | None = None) -> Paired:
        """Compare the right answers with those of the base as it is served."""
        marks = self._some(language)
        return pair_marks([mark.base.right for mark in marks], [mark.candidate.right for mark in marks])

    def candidate_against_float32(self, language: str | None = None) -> Paired | None:
        """Compare the right answers with those of the base in float32; None where it was not asked."""
        both = [(mark.float32.right, mark.candidate.right) for mark in self._some(language) if mark.float32]
        return pair_marks(*zip(*both, strict=True)) if both else None

    def float32_against_base(self, language: str | None = None) -> Paired | None:
        """Compare the base's right answers in float32 with those as it is served."""
        both = [(mark.base.right, mark.float32.right) for mark in self._some(language) if mark.float32]
        return pair_marks(*zip(*both, strict=True)) if both else None

    def well_formed(self) -> Paired:
        """Compare with the base as it is served whether there is an answer that does not repeat itself."""
        formed = [(not mark.base.malformed, not mark.candidate.malformed) for mark in self.marks]
        return pair_marks([base for base, _ in formed], [candidate for _, candidate in formed])

    def well_formed_against_float32(self) -> Paired | None:
        """Compare the same with the base in float32."""
        both = [(not m.float32.malformed, not m.candidate.malformed) for m in self.marks if m.float32]
        return pair_marks(*zip(*both, strict=True)) if both else None

    def lost(self) -> tuple[FactMark, ...]:
        """Return the prompts that the base answers rightly, in float32 too, and the candidate does not."""
        return tuple(
            mark
            for mark in self.marks
            if mark.base.right and not mark.candidate.right and (mark.float32 is None or mark.float32.right)
        )

    def _some(self, language: str | None) -> list[FactMark]:
        return [mark for mark in self.marks if language in (None, mark.language)]


def compare_facts(
    facts: Sequence[Fact],
    base: Sequence[ChatAnswer],
    candidate: Sequence[ChatAnswer],
    float32: Sequence[ChatAnswer] | None,
    no_floor: str = "",
) -> FactFindings:
    """Mark every answer and compare the models."""
    exact: Sequence[ChatAnswer | None] = [None] * len(facts) if float32 is None else float32
    marks = tuple(
        FactMark(
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


def _reply(fact: Fact, answer: ChatAnswer) -> FactReply:
    return FactReply(answer.text, is_right(fact, answer.text), malformed(answer))


def _divergence(before: Sequence[ChatAnswer], after: Sequence[ChatAnswer]) -> Divergence | None:
    one, other = [answer.ids for answer in before], [answer.ids for answer in after]
    known = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    return divergence_of([a for a, _ in known], [b for _, b in known]) if known else None
