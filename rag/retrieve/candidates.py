"""One search of one generation: rank, put copies aside, rerank, vary."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from quantserve.rag.config import RetrieveConfig
from quantserve.rag.errors import RerankFailed
from quantserve.rag.rerank.base import Reranker, rerank_in_time
from quantserve.rag.retrieve.duplicates import Distinct
from quantserve.rag.retrieve.fusion import reciprocal_rank_fusion, score_fusion
from quantserve.rag.retrieve.mmr import mmr_order
from quantserve.rag.retrieve.passage import Passage
from quantserve.rag.store.base import Index
from quantserve.rag.store.chunks import Chunk

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Ranked = list[tuple[int, float]]
_WIDER = 4
"""So many times more candidates are looked at where copies left too few."""


@dataclass(frozen=True)
class Candidate:
    """A passage on its way, and its row."""

    row: int
    passage: Passage


@dataclass(frozen=True)
class Search:
    """One question to one generation; `seconds` are added to, by stage."""

    generation: Index
    query: str
    vector: Floats | None
    options: RetrieveConfig
    among: Rows | None
    seconds: dict[str, float]

    def distinct(self, wanted: int) -> list[Candidate]:
        """Return up to `wanted` passages, best first, none of which says what another does.

        Where copies fill the candidates more are looked at, until there are enough or no more.
        """
        total = self.generation.manifest.chunks
        count = max(self.options.candidates, wanted)
        while True:
            ranked, bm25, is_all = self._rank(count)
            with timed(self.seconds, "passages"):
                found = self._passages(ranked, bm25, wanted)
            if len(found) >= min(wanted, self.options.top_k) or is_all or count >= total:
                return found
            count *= _WIDER

    def _rank(self, count: int) -> tuple[Ranked, dict[int, float], bool]:
        """Rank up to `count` rows of each kind; return whether those were all there are, too."""
        options = self.options
        dense: Ranked = []
        words: Ranked = []
        if self.vector is not None:
            with timed(self.seconds, "dense"):
                dense = self.generation.search_vectors(self.vector, count, self.among)
        if options.mode != "dense":
            with timed(self.seconds, "bm25"):
                words = self.generation.search_words(self.query, count, self.among)
        is_all = max(len(dense), len(words)) < count
        if self.vector is None or options.mode == "dense":
            return dense or words, dict(words), is_all
        with timed(self.seconds, "fuse"):
            return self._fused(self.vector, dense, words), dict(words), is_all

    def _fused(self, vector: Floats, dense: Ranked, words: Ranked) -> Ranked:
        """Merge the two rankings of a hybrid mode."""
        if self.options.mode == "hybrid-rrf":
            rankings = [[row for row, _ in dense], [row for row, _ in words]]
            return reciprocal_rank_fusion(rankings, self.options.rrf_k)
        cosines = dict(dense)
        unknown = [row for row, _ in words if row not in cosines]
        if unknown:
            found = self.generation.vectors_of(unknown) @ vector
            cosines.update(zip(unknown, found.tolist(), strict=True))
        return score_fusion(dense, words, cosines, self.options.words_weight)

    def _passages(self, ranked: Ranked, bm25: dict[int, float], wanted: int) -> list[Candidate]:
        """Read the chunks of the best rows, copies aside."""
        distinct = Distinct()
        chunks: list[Chunk] = []
        while len(chunks) < len(ranked) and len(distinct.kept) < wanted:
            rows = [row for row, _ in ranked[len(chunks) : len(chunks) + wanted]]
            for chunk in self.generation.chunks.rows(rows):
                chunks.append(chunk)
                distinct.take(chunk)
        places = distinct.kept[:wanted]
        rows = [ranked[place][0] for place in places]
        # Computed for all: a passage that only the words found has a cosine too.
        cosines: list[float | None] = [None] * len(rows)
        if self.vector is not None and rows:
            cosines = [float(cosine) for cosine in self.generation.vectors_of(rows) @ self.vector]
        has_words = self.options.mode != "dense"
        return [
            Candidate(
                row,
                Passage(
                    chunks[place],
                    ranked[place][1],
                    cosine,
                    bm25.get(row, 0.0) if has_words else None,
                    also_in=tuple(distinct.also_in.get(place, ())),
                ),
            )
            for place, row, cosine in zip(places, rows, cosines, strict=True)
        ]


def reranked(
    reranker: Reranker, query: str, candidates: Sequence[Candidate], options: RetrieveConfig
) -> tuple[list[Candidate], tuple[str, ...]]:
    """Order the first candidates by the reranker; what lies behind them has no score of it and is left out.

    Only where there are fewer of them than wanted do the others follow.
    """
    head, tail = candidates[: options.rerank.candidates], candidates[options.rerank.candidates :]
    try:
        scores = rerank_in_time(reranker, query, [one.passage.chunk.embedded for one in head], options.rerank)
    except RerankFailed as error:
        return list(candidates), (f"not reranked: {error}",)
    order = sorted(range(len(head)), key=lambda index: -scores[index])
    best = [
        replace(
            head[index],
            passage=replace(head[index].passage, score=scores[index], rerank=scores[index]),
        )
        for index in order
    ]
    return [*best, *tail], ()


def varied(
    generation: Index, candidates: Sequence[Candidate], count: int, relevance_weight: float
) -> list[Candidate]:
    """Choose by maximal marginal relevance among passages whose scores are of one kind; scores stay."""
    scored = [one for one in candidates if one.passage.rerank is not None]
    among = scored or list(candidates)
    vectors = generation.vectors_of([one.row for one in among]) if among else np.empty((0, 0), np.float32)
    relevance = [one.passage.score for one in among]
    chosen = [among[index] for index in mmr_order(relevance, vectors, count, relevance_weight)]
    return [*chosen, *candidates[len(among) :]]


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the seconds of a stage."""
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - started
