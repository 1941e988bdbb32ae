"""Everything `rag eval` measures, gathered in one result."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from quantserve.core.stats import Estimate
from quantserve.rag.evaluate.answers import AnswersSummary
from quantserve.rag.evaluate.questions import Question
from quantserve.rag.evaluate.ranking import (
    METRICS,
    MODES,
    RERANKED,
    ModeScores,
    Searched,
    asked_of,
    groups_of,
    mode_options,
    score_mode,
    search_all,
)
from quantserve.rag.evaluate.roc import Roc, roc, scores_of
from quantserve.rag.retrieve import Searcher
from quantserve.rag.trust.calibration import Entry
from quantserve.rag.trust.measure import measure

JUDGED_BY = "nDCG@10"


@dataclass(frozen=True)
class Evaluation:
    """One run over a question file; estimates are means with 95 % bootstrap intervals."""

    index: dict[str, Any]
    questions: dict[str, int]
    missing: tuple[str, ...]
    """Ids of questions whose evidence the index does not hold; they are left out."""
    modes: dict[str, dict[str, Estimate]]
    groups: dict[str, dict[str, Estimate]]
    """By language and kind: each mode's nDCG@10."""
    differences: dict[str, Estimate]
    """By how much nDCG@10 of `hybrid` exceeds each other mode's, paired by question."""
    search_ms: dict[str, float]
    """Median milliseconds of one search, embedding included."""
    notes: tuple[str, ...]
    calibrations: tuple[Entry, ...]
    """The limits for "I do not know" by mode; none where every question has an answer, or none has."""
    curves: dict[str, Roc]
    """ROC by "mode signal"."""
    areas: dict[str, dict[str, float]]
    """Area under the ROC by "mode signal", against each kind of unanswerable questions by itself."""
    answers: AnswersSummary | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as the last line has it: without the curves' points."""
        whole = asdict(self)
        del whole["curves"]
        whole["calibrations"] = [entry.model_dump(mode="json") for entry in self.calibrations]
        return whole


def evaluate(
    questions: Sequence[Question],
    searcher: Searcher,
    modes: Sequence[str] = MODES,
    questions_sha256: str = "",
    advance: Callable[[], None] = lambda: None,
    *,
    portable: bool = False,
) -> Evaluation:
    """Search every question in every mode, score, compare and calibrate; `portable`: for other indexes too.

    Raises:
        InputError: the index holds the evidence of no question.
    """
    asked, missing = asked_of(questions, searcher)
    row_of = {chunk.id: row for row, chunk in searcher.generation.chunks.all()}
    skipped = {question.id for question in missing}
    wanted = [question for question in questions if question.id not in skipped]
    searched = [search_all(mode, wanted, searcher, advance) for mode in modes]
    scores = {one.mode: score_mode(one, asked, row_of) for one in searched}
    settings = searcher.generation.manifest.settings
    curves: dict[str, Roc] = {}
    areas: dict[str, dict[str, float]] = {}
    answerable = [question for question in wanted if question.answerable]
    unanswerable = [question for question in wanted if not question.answerable]
    for one in searched:
        positive, negative = _scores(one, answerable), _scores(one, unanswerable)
        for signal in sorted(positive.keys() & negative.keys()):
            curves[f"{one.mode} {signal}"] = roc(positive[signal], negative[signal])
            areas[f"{one.mode} {signal}"] = {
                kind: roc(positive[signal], _scores(one, asked_in_vain)[signal]).area
                for kind, asked_in_vain in _by_kind(unanswerable).items()
            }
    groups = groups_of(asked)
    return Evaluation(
        index={
            "generation": searcher.generation.name,
            "chunks": searcher.generation.manifest.chunks,
            "embedding_model": settings.embedding_model,
            "embedding_fingerprint": settings.embedding_fingerprint,
            "chunk_size": settings.chunk_size,
        },
        questions={
            "all": len(questions),
            "scored": len(asked),
            "unanswerable": sum(not question.answerable for question in questions),
            **{name: len(chosen) for name, chosen in groups.items()},
        },
        missing=tuple(sorted(skipped)),
        modes={mode: _estimates(one) for mode, one in scores.items()},
        groups={
            name: {mode: _known(one.mean(JUDGED_BY, chosen)) for mode, one in scores.items()}
            for name, chosen in groups.items()
        },
        differences={
            mode: _known(scores["hybrid"].minus(one, JUDGED_BY))
            for mode, one in scores.items()
            if mode != "hybrid" and "hybrid" in scores
        },
        search_ms={one.mode: 1000 * statistics.median(one.seconds) for one in searched},
        notes=tuple(f"{one.mode}: {note}" for one in searched for note in one.notes),
        calibrations=_calibrations(searched, wanted, searcher, questions_sha256, portable=portable),
        curves=curves,
        areas=areas,
    )


def evaluated_modes(searcher: Searcher) -> tuple[str, ...]:
    """Return the modes to compare; with reranking where a reranker is configured."""
    return (*MODES, RERANKED) if searcher.config.retrieve.rerank.kind != "off" else MODES


def _calibrations(
    searched: Sequence[Searched],
    questions: Sequence[Question],
    searcher: Searcher,
    questions_sha256: str,
    *,
    portable: bool,
) -> tuple[Entry, ...]:
    """Fit each mode's limits; a mode that did not search as asked (no scores of a reranker) has none."""
    if len({question.answerable for question in questions}) < 2:
        return ()
    base = searcher.config.retrieve
    return tuple(
        measure(
            searcher.generation,
            replace(mode_options(base, one.mode), top_k=base.top_k),
            [(asked.question, one.passages[asked.id], asked.answerable) for asked in questions],
            questions_sha256,
            portable=portable,
        )
        for one in searched
        if not one.notes
    )


def _scores(searched: Searched, questions: Sequence[Question]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for question in questions:
        for signal, value in scores_of(searched.passages[question.id]).items():
            found.setdefault(signal, []).append(value)
    return found


def _by_kind(questions: Sequence[Question]) -> dict[str, list[Question]]:
    kinds: dict[str, list[Question]] = {}
    for question in questions:
        kinds.setdefault(question.kind, []).append(question)
    return kinds


def _estimates(scores: ModeScores) -> dict[str, Estimate]:
    return {metric: _known(scores.mean(metric)) for metric in METRICS}


def _known(value: Estimate | None) -> Estimate:
    if value is None:
        raise ValueError("an estimate over no question")
    return value
