"""How true answers are: faithfulness to their passages, and whether citations hold what they stand at."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from quantserve.core.stats import Estimate, estimate
from quantserve.rag.evaluate.gold import chunks_of_place, squeezed
from quantserve.rag.evaluate.judge import Judge
from quantserve.rag.evaluate.questions import Question
from quantserve.rag.retrieve import Passage
from quantserve.rag.text import split_sentences

_NUMBER = re.compile(r"\[(\d+)\]")
SUPPORTED = 0.5
"""A citation counts as right when its passage supports the sentence at least so far."""
NO_ANSWER = frozenset({"unknown", "chitchat"})
"""Modes in which nothing is claimed: the documents hold no answer, or nothing was asked of them."""


class Answered(Protocol):
    """What is looked at of an answer."""

    @property
    def text(self) -> str:
        """The answer with citations [1], [2]."""

    @property
    def mode(self) -> str:
        """generate, extract or unknown."""

    @property
    def passages(self) -> tuple[Passage, ...]:
        """Numbered from 1 by the citations."""


@dataclass(frozen=True)
class AnswerScores:
    """One answer; None where there was nothing to score."""

    id: str
    answerable: bool
    mode: str
    faithfulness: float | None
    """Mean support of its sentences by all its passages."""
    citation_precision: float | None
    """Share of its citations whose passage supports the sentence."""
    citation_gold: float | None
    """Share of its citations whose passage holds the question's evidence."""


@dataclass(frozen=True)
class AnswersSummary:
    """All answers; `refused` are shares of "I do not know"."""

    judge: str
    answers: int
    modes: dict[str, int]
    faithfulness: Estimate | None
    citation_precision: Estimate | None
    citation_gold: Estimate | None
    refused_answerable: float | None
    refused_unanswerable: float | None


def claims_of(text: str) -> list[tuple[str, tuple[int, ...]]]:
    """Return an answer's sentences with what each cites; a citation after a stop belongs before it."""
    claims: list[tuple[str, tuple[int, ...]]] = []
    for sentence in split_sentences(text):
        cited = tuple(int(number) for number in _NUMBER.findall(sentence))
        words = _NUMBER.sub("", sentence).strip()
        if words.strip(" .,;:!?"):
            claims.append((words, cited))
        elif cited and claims:
            claims[-1] = (claims[-1][0], (*claims[-1][1], *cited))
    return claims


def score_answer(question: Question, answer: Answered, judge: Judge) -> AnswerScores:
    """Judge one answer against the passages it was given."""
    if answer.mode in NO_ANSWER:
        return AnswerScores(question.id, question.answerable, answer.mode, None, None, None)
    texts = [passage.chunk.embedded for passage in answer.passages]
    chunks = [passage.chunk for passage in answer.passages]
    squeezed_texts = [squeezed(chunk.text) for chunk in chunks]
    gold = {row for place in question.places for row in chunks_of_place(place, chunks, squeezed_texts)}
    faithful: list[float] = []
    right: list[float] = []
    golden: list[float] = []
    for words, cited in claims_of(answer.text):
        faithful.append(judge.supports(words, texts))
        for number in cited:
            if 1 <= number <= len(texts):
                right.append(float(judge.supports(words, [texts[number - 1]]) >= SUPPORTED))
                golden.append(float(number - 1 in gold))
    return AnswerScores(
        question.id,
        question.answerable,
        answer.mode,
        _mean(faithful),
        _mean(right),
        _mean(golden) if question.answerable else None,
    )


def score_answers(
    questions: Sequence[Question],
    answer: Callable[[str], Answered],
    judge: Judge,
    advance: Callable[[], None] = lambda: None,
) -> list[AnswerScores]:
    """Ask and judge each question."""
    scores: list[AnswerScores] = []
    for question in questions:
        scores.append(score_answer(question, answer(question.question), judge))
        advance()
    return scores


def summarise(scores: Sequence[AnswerScores], judge: Judge) -> AnswersSummary:
    """Gather all answers."""
    modes: dict[str, int] = {}
    for one in scores:
        modes[one.mode] = modes.get(one.mode, 0) + 1
    return AnswersSummary(
        judge=judge.name,
        answers=len(scores),
        modes=modes,
        faithfulness=_estimate([one.faithfulness for one in scores]),
        citation_precision=_estimate([one.citation_precision for one in scores]),
        citation_gold=_estimate([one.citation_gold for one in scores]),
        refused_answerable=_refused([one for one in scores if one.answerable]),
        refused_unanswerable=_refused([one for one in scores if not one.answerable]),
    )


def sample(questions: Sequence[Question], count: int) -> list[Question]:
    """Return `count` questions spread evenly over the file, the same ones every time."""
    if count >= len(questions):
        return list(questions)
    return [questions[index * len(questions) // count] for index in range(count)]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _estimate(values: Sequence[float | None]) -> Estimate | None:
    return estimate([value for value in values if value is not None])


def _refused(scores: Sequence[AnswerScores]) -> float | None:
    return _mean([float(one.mode in NO_ANSWER) for one in scores])
