"""What a store is: generations that appear whole or not at all, wherever they lie."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from quantserve.rag.store.chunks import Chunk
from quantserve.rag.store.manifest import IndexManifest

if TYPE_CHECKING:
    from quantserve.rag.config import RagConfig
    from quantserve.rag.store.words import WordIndex

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
LOCAL = "faiss"
"""The setting of the local store; anything else is the address of a shared one."""


class Chunks(Protocol):
    """The chunks of one generation."""

    def rows(self, rows: Iterable[int]) -> list[Chunk]:
        """Return chunks by row number, in the order asked for."""

    def all(self) -> Iterator[tuple[int, Chunk]]:
        """Yield (row, chunk) of everything."""

    def of_file(self, path: str) -> list[tuple[int, Chunk]]:
        """Return (row, chunk) of one document in reading order."""

    def with_words(self, path: str) -> Iterator[tuple[int, Chunk, list[str]]]:
        """Yield (row, chunk, words) of one document in reading order."""

    def find(self, identity: str) -> Chunk | None:
        """Return the chunk of an id; None where there is none."""

    def row_of(self, digest: bytes) -> int | None:
        """Return a row whose embedded text has this digest."""

    def close(self) -> None:
        """Let go of what is open."""


class Index(Protocol):
    """One whole generation, opened for reading; it never changes."""

    def __hash__(self) -> int:
        """Return the hash of this very object."""

    manifest: IndexManifest

    @property
    def name(self) -> str:
        """A name that changes with every change of the index."""

    @property
    def chunks(self) -> Chunks:
        """Its chunks."""

    @property
    def words(self) -> WordIndex:
        """Its word index."""

    def search_vectors(self, query: Floats, k: int, among: Rows | None = None) -> list[tuple[int, float]]:
        """Return up to `k` (row, cosine), best first; only rows of `among` where it is given."""

    def search_words(self, query: str, k: int, among: Rows | None = None) -> list[tuple[int, float]]:
        """Return up to `k` (row, BM25 score) above zero, best first; only rows of `among` where given."""

    def vocabulary(self) -> Collection[str]:
        """Return every word of the word index."""

    def rows_where(self, allows: Callable[[Chunk], bool]) -> Rows:
        """Return the rows of the chunks that `allows` says yes to."""

    def vectors_of(self, rows: list[int]) -> Floats:
        """Return stored vectors by row number."""


class Store(Protocol):
    """Where generations lie."""

    def current(self) -> Index | None:
        """Open the generation that answers now; None before the first."""

    def open(self) -> Index:
        """Open the current generation.

        Raises:
            NoIndex: nothing has been indexed.
        """

    def stamp(self) -> str:
        """Return what changes with every change of the current generation, cheaply; empty before the first.

        Raises:
            StoreUnavailable: the store does not answer.
        """

    def writer_lock(self) -> AbstractContextManager[None]:
        """Keep other writers out; a dead writer's lock is free.

        Raises:
            Locked: another process is writing.
        """

    def publish(self, build: Callable[[Path], None]) -> str:
        """Have `build` fill a new generation's folder (its manifest last), then make it the current one.

        The caller holds the writer lock. Returns the generation's name.
        """

    def clear(self) -> None:
        """Take everything out: there is no current generation afterwards, and no name is used twice.

        The caller holds the writer lock.
        """


def open_store(config: RagConfig) -> Store:
    """Return the store that `config.store` names.

    Raises:
        UsageError: it names none.
    """
    if config.store == LOCAL:
        from quantserve.rag.store.generation import IndexStore

        return IndexStore(Path(config.index_dir))
    from quantserve.rag.store.postgres.store import PostgresStore

    return PostgresStore(config.store)
