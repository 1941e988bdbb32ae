"""Every mode's rankings over a question file, scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from quantserve.core.errors import InputError
from quantserve.core.stats import Estimate, difference, estimate
from quantserve.rag.config import RerankConfig, RetrieveConfig
from quantserve.rag.evaluate.gold import gold_rows, squeezed
from quantserve.rag.evaluate.metrics import Places, hit_at, ndcg_at, recall_at, reciprocal_rank
from quantserve.rag.evaluate.questions import Question
from quantserve.rag.retrieve import Passage, Searcher

DEPTH = 10
Metric = Callable[[Sequence[int], Places], float]
METRICS: Mapping[str, Metric] = {
    "hit@1": lambda ranking, places: hit_at(ranking, places, 1),
    "hit@4": lambda ranking, places: hit_at(ranking, places, 4),
    "recall@4": lambda ranking, places: recall_at(ranking, places, 4),
    "recall@10": lambda ranking, places: recall_at(ranking, places, DEPTH),
    "MRR": reciprocal_rank,
    "nDCG@10": lambda ranking, places: ndcg_at(ranking, places, DEPTH),
}
RERANKED = "hybrid+rerank"
MODES = ("bm25", "dense", "hybrid-rrf", "hybrid")


@dataclass(frozen=True)
class Asked:
    """An answerable question, and the rows that answer it."""

    question: Question
    places: tuple[frozenset[int], ...]


@dataclass(frozen=True)
class Searched:
    """What one mode found for every question, by id, and the seconds each search took."""

    mode: str
    passages: dict[str, tuple[Passage, ...]]
    seconds: tuple[float, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModeScores:
    """One mode's value of every metric for every question, in the questions' order."""

    mode: str
    values: dict[str, tuple[float, ...]]

    def mean(self, metric: str, chosen: Sequence[int] | None = None) -> Estimate | None:
        """Estimate a metric over all questions, or those at `chosen`."""
        values = self.values[metric]
        return estimate(values if chosen is None else [values[index] for index in chosen])

    def minus(self, other: ModeScores, metric: str) -> Estimate | None:
        """Estimate by how much this mode is better, question by question."""
        return difference(self.values[metric], other.values[metric])


def asked_of(questions: Sequence[Question], searcher: Searcher) -> tuple[list[Asked], list[Question]]:
    """Return the answerable questions with their rows, and those whose evidence the index does not hold.

    Raises:
        InputError: the index holds the evidence of none: it was made of other documents.
    """
    chunks = [chunk for _, chunk in searcher.generation.chunks.all()]
    texts = [squeezed(chunk.text) for chunk in chunks]
    asked: list[Asked] = []
    missing: list[Question] = []
    for question in questions:
        if not question.answerable:
            continue
        places = tuple(place for place in gold_rows(question, chunks, texts) if place)
        if places:
            asked.append(Asked(question, places))
        else:
            missing.append(question)
    if not asked:
        raise InputError(
            "the index holds the evidence of no question",
            mend="Index the documents the questions are about: quantserve rag index samples/documents",
        )
    return asked, missing


def mode_options(base: RetrieveConfig, mode: str) -> RetrieveConfig:
    """Return the options of one mode of the comparison; `hybrid+rerank` takes the configured reranker."""
    options = replace(base, top_k=DEPTH, min_score=None)
    if mode == RERANKED:
        return replace(options, mode="hybrid")
    plain: Any = mode
    return replace(options, mode=plain, rerank=RerankConfig())


def search_all(
    mode: str,
    questions: Sequence[Question],
    searcher: Searcher,
    advance: Callable[[], None] = lambda: None,
) -> Searched:
    """Search every question in one mode."""
    options = mode_options(searcher.config.retrieve, mode)
    passages: dict[str, tuple[Passage, ...]] = {}
    seconds: list[float] = []
    notes: dict[str, int] = {}
    for question in questions:
        found = searcher.find(question.question, options)
        passages[question.id] = found.passages
        seconds.append(sum(found.seconds.values()))
        for note in found.notes:
            notes[note] = notes.get(note, 0) + 1
        advance()
    said = tuple(f"{note} ({count} questions)" for note, count in notes.items())
    return Searched(mode, passages, tuple(seconds), said)


def score_mode(searched: Searched, asked: Sequence[Asked], row_of: Mapping[str, int]) -> ModeScores:
    """Score one mode's rankings; `row_of` maps a chunk's id to its row."""
    values: dict[str, list[float]] = {name: [] for name in METRICS}
    for item in asked:
        ranking = [row_of[passage.chunk.id] for passage in searched.passages[item.question.id]]
        for name, metric in METRICS.items():
            values[name].append(metric(ranking, item.places))
    return ModeScores(searched.mode, {name: tuple(numbers) for name, numbers in values.items()})


def groups_of(asked: Sequence[Asked]) -> dict[str, list[int]]:
    """Return the positions of the questions by language and by kind."""
    groups: dict[str, list[int]] = {}
    for index, item in enumerate(asked):
        for name in (item.question.language, item.question.kind):
            groups.setdefault(name, []).append(index)
    return groups
