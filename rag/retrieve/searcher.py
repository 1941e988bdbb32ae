"""Search one generation of the index."""

from __future__ import annotations

import copy
import functools
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from quantserve.rag.config import EmbeddingConfig, RagConfig, RetrieveConfig
from quantserve.rag.embedding.backend import Embedder, fingerprint, load_embedder, resolve
from quantserve.rag.embedding.remember import RememberingEmbedder
from quantserve.rag.errors import IndexMismatch, IndexReplaced
from quantserve.rag.rerank.base import Reranker, load_reranker
from quantserve.rag.retrieve.candidates import Floats, Rows, Search, reranked, timed, varied
from quantserve.rag.retrieve.filters import Filters
from quantserve.rag.retrieve.passage import Found, Passage
from quantserve.rag.store.base import Index, open_store
from quantserve.rag.text import normalise

Result = TypeVar("Result")
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
            mend="Index again: quantserve rag index; or name the model it was made with, --backend auto",
        )


class Searcher:
    """Searches one generation. Opening is cheap; model and indexes load with the first question.

    Where writers have meanwhile replaced the generation twice, its files are gone: then it goes on with the
    current one of the configured store.
    """

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
        self._loading, self._opening = threading.Lock(), threading.Lock()
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
        return self.on_generation(
            lambda generation: self._find(
                generation, normalise(query), options or self.config.retrieve, filters
            )
        )

    def on_generation(self, work: Callable[[Index], Result]) -> Result:
        """Do `work` on the generation; on the current one where this one's files are gone.

        A writer removes a generation when two newer ones are there, whoever may have it open.
        """
        generation = self.generation
        try:
            return work(generation)
        except IndexReplaced:
            return work(self._reopened(generation))

    def _reopened(self, gone: Index) -> Index:
        """Open the current generation instead of one that is gone; one thread does it for all."""
        with self._opening:
            if self.generation is gone:
                newer = open_store(self.config).open()
                check_same_model(newer, self.config.embedding)
                self.generation = newer
            return self.generation

    def _find(self, generation: Index, query: str, options: RetrieveConfig, filters: Filters | None) -> Found:
        if not query:
            return Found()
        seconds: dict[str, float] = {}
        among = self._rows_of(generation, filters) if filters is not None and filters.conditions else None
        vector: Floats | None = None
        if options.mode != "bm25":
            with timed(seconds, "embed"):
                vector = self.embedder.embed_queries([query])[0]
        reranker = self._reranker if options.rerank.kind != "off" else None
        wanted = max(
            options.top_k,
            options.rerank.candidates if reranker else 0,
            options.candidates if options.mmr is not None else 0,
        )
        search = Search(generation, query, vector, options, among, seconds)
        candidates = search.distinct(wanted)
        notes: tuple[str, ...] = ()
        if reranker is not None and candidates:
            with timed(seconds, "rerank"):
                candidates, notes = reranked(reranker, query, candidates, options)
        if options.min_score is not None:
            candidates = [one for one in candidates if one.passage.score >= options.min_score]
        if options.mmr is not None:
            with timed(seconds, "mmr"):
                candidates = varied(generation, candidates, options.top_k, options.mmr)
        return Found(tuple(one.passage for one in candidates[: options.top_k]), seconds, notes)

    def _rows_where(self, generation: Index, filters: Filters) -> Rows:
        return generation.rows_where(filters.allows)
