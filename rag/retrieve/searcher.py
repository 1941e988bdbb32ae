"""Search one generation of the index."""

from __future__ import annotations

import copy
import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from rag.config import EmbeddingConfig, RagConfig, RetrieveConfig
from rag.embedding.backend import Embedder, fingerprint, load_embedder, resolve
from rag.embedding.remember import RememberingEmbedder
from rag.errors import IndexMismatch, RerankFailed
from rag.rerank.base import Reranker, load_reranker, rerank_in_time
from rag.retrieve.filters import Filters
from rag.retrieve.fusion import reciprocal_rank_fusion, score_fusion
from rag.retrieve.mmr import mmr_order
from rag.retrieve.passage import Found, Passage
from rag.store.base import Index, open_store
from rag.text import normalise

Rows = npt.NDArray[np.int64]
Ranked = list[tuple[int, float]]
_FILTERS_KEPT = 32


def check_same_model(generation: Index, config: EmbeddingConfig) -> None:
    """Refuse to compare vectors of two models.

    Raises:
        IndexMismatch: the index was made with another embedding model, or with other prefixes.
        EmbeddingModelError: the model is not there.
    """
    settings = generation.manifest.settings
    if fingerprint(config) != settings.embedding_fingerprint:
        raise IndexMismatch(
            f"the index was made with the embedding model {settings.embedding_model}, "
            f"this question would be embedded with {config.model} by {config.backend}, which differs",
            mend="Index again: python -m rag index; or name the model it was made with, --backend auto",
        )


class Searcher:
    """Searches one generation. Opening is cheap; model and indexes load with the first question."""

    def __init__(
        self,
        generation: Index,
        config: RagConfig,
        load_model: Callable[[], Embedder] | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        """Check that index and model belong together; `reranker` replaces the configured one.

        Raises:
            IndexMismatch: they do not.
        """
        settings = generation.manifest.settings
        config = replace(config, embedding=resolve(config.embedding, settings.embedding_fingerprint))
        check_same_model(generation, config.embedding)
        self.generation = generation
        self.config = config
        self._load_model = load_model or (lambda: load_embedder(config.embedding))
        self._loading = threading.Lock()
        self._embedders: list[Embedder] = []  # at most one; shared with copies that have other options
        self._reranker = reranker or load_reranker(config.retrieve.rerank)
        self._rows_of = functools.lru_cache(_FILTERS_KEPT)(self._rows_where)

    @classmethod
    def open(cls, config: RagConfig) -> Searcher:
        """Open the current generation of the configured store.

        Raises:
            NoIndex: there is none.
        """
        return cls(open_store(config).open(), config)

    def with_options(self, options: RetrieveConfig) -> Searcher:
        """Return a searcher of the same generation, model and reranker with other options."""
        other = copy.copy(self)
        other.config = replace(self.config, retrieve=options)
        return other

    @property
    def embedder(self) -> Embedder:
        """The embedding model, loaded when first needed."""
        with self._loading:
            if not self._embedders:
                self._embedders.append(RememberingEmbedder(self._load_model()))
            return self._embedders[0]

    def search(
        self, query: str, options: RetrieveConfig | None = None, filters: Filters | None = None
    ) -> list[Passage]:
        """Return up to `top_k` passages, best first; none for an empty query."""
        return list(self.find(query, options, filters).passages)

    def find(
        self, query: str, options: RetrieveConfig | None = None, filters: Filters | None = None
    ) -> Found:
        """Search, with the seconds of each stage and notes on what did not happen as asked."""
        options = options or self.config.retrieve
        query = normalise(query)
        seconds: dict[str, float] = {}
        if not query:
            return Found()
        among = self._rows_of(filters) if filters is not None and filters.conditions else None
        vector: npt.NDArray[np.float32] | None = None
        if options.mode != "bm25" or options.mmr is not None:
            with _timed(seconds, "embed"):
                vector = self.embedder.embed_queries([query])[0]
        ranked, bm25 = self._rank(query, vector, options, among, seconds)
        if options.mmr is not None and vector is not None and ranked:
            with _timed(seconds, "mmr"):
                ranked = self._varied(vector, ranked, options, options.mmr)
        reranker = self._reranker if options.rerank.kind != "off" else None
        keep = max(options.top_k, options.rerank.candidates) if reranker else options.top_k
        with _timed(seconds, "passages"):
            passages = self._passages(ranked[:keep], vector, bm25 if options.mode != "dense" else None)
        notes: tuple[str, ...] = ()
        if reranker is not None and passages:
            with _timed(seconds, "rerank"):
                passages, notes = _reranked(reranker, query, passages, options)
        if options.min_score is not None:
            passages = [passage for passage in passages if passage.score >= options.min_score]
        return Found(tuple(passages[: options.top_k]), seconds, notes)

    def _rank(
        self,
        query: str,
        vector: npt.NDArray[np.float32] | None,
        options: RetrieveConfig,
        among: Rows | None,
        seconds: dict[str, float],
    ) -> tuple[Ranked, dict[int, float]]:
        count = max(options.candidates, options.top_k, options.rerank.candidates)
        dense: Ranked = []
        words: Ranked = []
        if options.mode != "bm25" and vector is not None:
            with _timed(seconds, "dense"):
                dense = self.generation.search_vectors(vector, count, among)
        if options.mode != "dense":
            with _timed(seconds, "bm25"):
                words = self.generation.search_words(query, count, among)
        if options.mode in ("dense", "bm25") or vector is None:
            return dense or words, dict(words)
        with _timed(seconds, "fuse"):
            return self.fuse(vector, dense, words, options), dict(words)

    def fuse(
        self, vector: npt.NDArray[np.float32], dense: Ranked, words: Ranked, options: RetrieveConfig
    ) -> Ranked:
        """Merge the two rankings of a hybrid mode."""
        if options.mode == "hybrid-rrf":
            rankings = [[row for row, _ in dense], [row for row, _ in words]]
            return reciprocal_rank_fusion(rankings, options.rrf_k)
        cosines = dict(dense)
        unknown = [row for row, _ in words if row not in cosines]
        if unknown:
            found = self.generation.vectors_of(unknown) @ vector
            cosines.update(zip(unknown, found.tolist(), strict=True))
        return score_fusion(dense, words, cosines, options.words_weight)

    def _varied(
        self,
        vector: npt.NDArray[np.float32],
        ranked: Ranked,
        options: RetrieveConfig,
        relevance_weight: float,
    ) -> Ranked:
        """Put the first candidates into the order of maximal marginal relevance; scores stay."""
        first = ranked[: options.candidates]
        vectors = self.generation.vectors_of([row for row, _ in first])
        count = max(options.top_k, options.rerank.candidates)
        return [first[index] for index in mmr_order(vector, vectors, count, relevance_weight)]

    def _passages(
        self, ranked: Ranked, vector: npt.NDArray[np.float32] | None, bm25: dict[int, float] | None
    ) -> list[Passage]:
        rows = [row for row, _ in ranked]
        chunks = self.generation.chunks.rows(rows)
        # Computed for all: a passage that only the words found has a cosine too.
        cosines: list[float | None] = [None] * len(rows)
        if vector is not None and rows:
            cosines = [float(cosine) for cosine in self.generation.vectors_of(rows) @ vector]
        return [
            Passage(chunk, score, cosine, None if bm25 is None else bm25.get(row, 0.0))
            for (row, score), chunk, cosine in zip(ranked, chunks, cosines, strict=True)
        ]

    def _rows_where(self, filters: Filters) -> Rows:
        return self.generation.rows_where(filters.allows)


def _reranked(
    reranker: Reranker, query: str, passages: Sequence[Passage], options: RetrieveConfig
) -> tuple[list[Passage], tuple[str, ...]]:
    head, tail = passages[: options.rerank.candidates], passages[options.rerank.candidates :]
    try:
        scores = rerank_in_time(reranker, query, [p.chunk.embedded for p in head], options.rerank)
    except RerankFailed as error:
        return list(passages), (f"not reranked: {error}",)
    order = sorted(range(len(head)), key=lambda index: -scores[index])
    best = [replace(head[index], score=scores[index], rerank=scores[index]) for index in order]
    return [*best, *tail], ()


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - started
