"""What the limits need of an index generation, wherever it lies."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol

from quantserve.rag.store.chunks import Chunk
from quantserve.rag.store.manifest import IndexManifest


class Chunks(Protocol):
    """The chunks of a generation."""

    def rows(self, rows: Iterable[int]) -> list[Chunk]:
        """Return chunks by row number, in the order asked for."""


class SearchedIndex(Protocol):
    """One generation of an index."""

    @property
    def manifest(self) -> IndexManifest:
        """What it was made with."""

    @property
    def chunks(self) -> Chunks:
        """Its chunks."""

    def search_words(self, query: str, k: int) -> list[tuple[int, float]]:
        """Return up to `k` (row, BM25 score) above zero, best first."""

    def vocabulary(self) -> Collection[str]:
        """Return every word of its word index."""
