"""What a search returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from quantserve.rag.store.chunks import Chunk


@dataclass(frozen=True)
class Passage:
    """A chunk that was found; `similarity` is a cosine, `bm25` 0.0 where no word is shared.

    `score` is what the order rests on: the cosine, the BM25 score, the fused score, or the reranker's.
    A score that was not computed is None.
    """

    chunk: Chunk
    score: float
    similarity: float | None
    bm25: float | None
    rerank: float | None = None
    also_in: tuple[str, ...] = ()
    """Other files that hold the same text; it is shown once, for all of them."""

    @property
    def place(self) -> str:
        """The file, with the page or heading."""
        if self.chunk.page is not None:
            return f"{self.chunk.file}, p. {self.chunk.page}"
        return f"{self.chunk.file}, {self.chunk.heading}" if self.chunk.heading else self.chunk.file


@dataclass(frozen=True)
class Found:
    """Passages, best first; `seconds` by stage; `notes` say what did not happen as asked."""

    passages: tuple[Passage, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
