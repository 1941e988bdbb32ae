"""Find passages: dense, by words, or both fused. Needs no LlamaIndex; its face is in rag.llama."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rag.config import EmbeddingConfig, RagConfig, RetrieveConfig
from rag.embedding.backend import Embedder, fingerprint, load_embedder
from rag.errors import IndexMismatch
from rag.fusion import reciprocal_rank_fusion
from rag.store.chunks import Chunk
from rag.store.generation import Generation, IndexStore
from rag.text import normalise


@dataclass(frozen=True)
class Passage:
    """A chunk that was found; `similarity` is a cosine, `bm25` 0.0 where no word is shared.

    `score` is what the mode ranks by: the cosine, the BM25 score, or the fused score. A score the
    mode does not compute is None.
    """

    chunk: Chunk
    score: float
    similarity: float | None
    bm25: float | None

    @property
    def place(self) -> str:
        """The file, with the page or heading."""
        if self.chunk.page is not None:
            return f"{self.chunk.file}, p. {self.chunk.page}"
        return f"{self.chunk.file}, {self.chunk.heading}" if self.chunk.heading else self.chunk.file


def check_same_model(generation: Generation, config: EmbeddingConfig) -> None:
    """Refuse to compare vectors of two models.

    Raises:
        IndexMismatch: the index was made with another embedding model, or with other prefixes.
        EmbeddingModelError: the model is not there.
    """
    settings = generation.manifest.settings
    if fingerprint(config) != settings.embedding_fingerprint:
        raise IndexMismatch(
            f"the index was made with the embedding model {settings.embedding_model}, "
            f"this question would be embedded with {config.model}, which differs",
            mend="Index again: python -m rag index; or name the model the index was made with",
        )


class Searcher:
    """Searches one generation. Opening is cheap; model and indexes load with the first question."""

    def __init__(
        self,
        generation: Generation,
        config: RagConfig,
        load_model: Callable[[], Embedder] | None = None,
    ) -> None:
        """Check that index and model belong together.

        Raises:
            IndexMismatch: they do not.
        """
        check_same_model(generation, config.embedding)
        self.generation = generation
        self._config = config
        self._load_model = load_model or (lambda: load_embedder(config.embedding))
        self._embedder: Embedder | None = None

    @classmethod
    def open(cls, config: RagConfig) -> Searcher:
        """Open the current generation of the index folder.

        Raises:
            NoIndex: there is none.
        """
        return cls(IndexStore(Path(config.index_dir)).open(), config)

    @property
    def embedder(self) -> Embedder:
        """The embedding model, loaded when first needed."""
        if self._embedder is None:
            self._embedder = self._load_model()
        return self._embedder

    def search(self, query: str, options: RetrieveConfig | None = None) -> list[Passage]:
        """Return up to `top_k` passages, best first; none for an empty query."""
        options = options or self._config.retrieve
        query = normalise(query)
        if not query:
            return []
        count = max(options.candidates, options.top_k)
        dense: list[tuple[int, float]] = []
        words: list[tuple[int, float]] = []
        vector = self.embedder.embed_queries([query])[0] if options.mode != "words" else None
        if vector is not None:
            dense = self.generation.search_vectors(vector, count)
        if options.mode in ("words", "hybrid"):
            words = self.generation.words.search(query, count)
        if options.mode == "hybrid":
            rankings = [[row for row, _ in dense], [row for row, _ in words]]
            ranked = reciprocal_rank_fusion(rankings, options.rrf_k)
        else:
            ranked = dense or words
        ranked = ranked[: options.top_k]
        rows = [row for row, _ in ranked]
        chunks = self.generation.chunks.rows(rows)
        # Computed for all: a passage that only the words found has a cosine too.
        cosines: list[float | None] = [None] * len(rows)
        if vector is not None and rows:
            cosines = [float(cosine) for cosine in self.generation.vectors_of(rows) @ vector]
        bm25 = dict(words)
        return [
            Passage(chunk, score, cosine, bm25.get(row, 0.0) if options.mode != "dense" else None)
            for (row, score), chunk, cosine in zip(ranked, chunks, cosines, strict=True)
        ]
