"""Generations: read the current one, publish the next one."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from quantserve.core.files import (
    exclusive_lock,
    point_symlink,
    private_folder,
    remove_tree,
    staged_directory,
    writing_to,
)
from quantserve.rag.errors import IndexMismatch, IndexReplaced, NoIndex
from quantserve.rag.store.chunks import Chunk, ChunkReader
from quantserve.rag.store.manifest import MANIFEST, IndexManifest, read_manifest
from quantserve.rag.store.vector_writer import VECTORS_FILE
from quantserve.rag.store.vectors import Floats, search_index

if TYPE_CHECKING:
    import faiss

    from quantserve.rag.store.words import WordIndex

CURRENT = "current"
_PREFIX = "gen-"


class Generation:
    """One whole index, opened for reading; its parts load when first used."""

    def __init__(self, directory: Path) -> None:
        """Read the manifest.

        Raises:
            IndexMismatch: another version of this program made it.
        """
        self.directory = directory
        with self._present():
            self.manifest: IndexManifest = read_manifest(directory)
            self.chunks = ChunkReader(directory)

    @contextmanager
    def _present(self) -> Iterator[None]:
        """Tell an index whose files are gone from one whose files are damaged.

        A writer removes a generation when two newer ones are there. What of it was loaded goes on answering.
        """
        try:
            yield
        except (OSError, RuntimeError, sqlite3.Error, IndexMismatch) as error:
            if self.directory.is_dir():
                raise
            raise IndexReplaced(
                "this generation of the index was replaced by newer ones", mend="Ask again"
            ) from error

    @property
    def name(self) -> str:
        """The generation's folder name, which changes with every change of the index."""
        return self.directory.name

    @functools.cached_property
    def vectors(self) -> faiss.Index:
        """The FAISS index: inner product over normalised vectors."""
        import faiss

        with self._present():
            return faiss.read_index(str(self.directory / VECTORS_FILE))

    @functools.cached_property
    def words(self) -> WordIndex:
        """The word index."""
        from quantserve.rag.store.words import WordIndex

        with self._present():
            return WordIndex(self.directory)

    def search_vectors(
        self, query: Floats, k: int, among: npt.NDArray[np.int64] | None = None
    ) -> list[tuple[int, float]]:
        """Return up to `k` (row, cosine), best first; only rows of `among` where it is given.

        Raises:
            IndexMismatch: the query's vector has another dimension than the index.
        """
        if query.size != self.manifest.dimension:
            raise IndexMismatch(
                f"the index's vectors have {self.manifest.dimension} numbers, the question's {query.size}",
                mend="Index again: quantserve rag index; or name the model the index was made with",
            )
        return search_index(self.vectors, query, k, among)

    def search_words(
        self, query: str, k: int, among: npt.NDArray[np.int64] | None = None
    ) -> list[tuple[int, float]]:
        """Return up to `k` (row, BM25 score) above zero, best first; only rows of `among` where given."""
        return self.words.search(query, k, among)

    def vocabulary(self) -> Collection[str]:
        """Return every word of the word index."""
        return self.words.vocabulary

    def rows_where(self, allows: Callable[[Chunk], bool]) -> npt.NDArray[np.int64]:
        """Return the rows of the chunks that `allows` says yes to."""
        return np.array([row for row, chunk in self.chunks.all() if allows(chunk)], np.int64)

    def vectors_of(self, rows: list[int]) -> Floats:
        """Return stored vectors by row number."""
        found: Floats = self.vectors.reconstruct_batch(np.array(rows, np.int64))
        return found


class IndexStore:
    """The folder of generations."""

    def __init__(self, root: Path) -> None:
        """`root` need not exist yet."""
        self.root = root

    def current(self) -> Generation | None:
        """Open the generation that answers now; None before the first."""
        link = self.root / CURRENT
        return Generation(link.resolve()) if (link / MANIFEST).is_file() else None

    def open(self) -> Generation:
        """Open the current generation.

        Raises:
            NoIndex: nothing has been indexed.
        """
        generation = self.current()
        if generation is None:
            raise NoIndex(f"{self.root} holds no index", mend="Make one: quantserve rag index PATH")
        return generation

    def stamp(self) -> str:
        """Return what changes with every change of the current generation; empty before the first."""
        try:
            manifest = (self.root / CURRENT).resolve() / MANIFEST
            status = manifest.stat()
        except OSError:
            return ""
        return f"{manifest.parent.name} {status.st_ino} {status.st_mtime_ns}"

    @contextmanager
    def writer_lock(self) -> Iterator[None]:
        """Keep other writers out.

        Raises:
            Locked: another process is writing.
            ResourceError: the folder cannot be written.
        """
        with ExitStack() as stack:
            with writing_to(self.root, "the index"):
                private_folder(self.root)  # it holds the documents' texts
                stack.enter_context(exclusive_lock(self.root / ".lock", f"indexing into {self.root}"))
            yield

    def clear(self) -> None:
        """Take everything out, under the writer lock.

        An empty folder keeps the count of generations going, so that no name is ever used twice.
        """
        generations = list(self.root.glob(f"{_PREFIX}*"))
        last = max((int(path.name.removeprefix(_PREFIX)) for path in generations), default=0)
        (self.root / CURRENT).unlink(missing_ok=True)
        (self.root / f"{_PREFIX}{last + 1:06d}").mkdir(mode=0o700, parents=True)
        for path in generations:
            remove_tree(path)

    def publish(self, build: Callable[[Path], None]) -> str:
        """Have `build` fill a new generation (its manifest last), then make it the current one.

        The caller holds the writer lock. What killed writers left behind is removed. Returns its name.

        Raises:
            ResourceError: the disk is full, or may not be written; the generation before stays the current
            one.
        """
        for stale in self.root.glob(f".{_PREFIX}*.staging-*"):
            remove_tree(stale)
        numbers = [int(path.name.removeprefix(_PREFIX)) for path in self.root.glob(f"{_PREFIX}*")]
        final = self.root / f"{_PREFIX}{max(numbers, default=0) + 1:06d}"
        link = self.root / CURRENT
        before = link.resolve().name if link.is_symlink() else ""
        with writing_to(self.root, "the index"):
            with staged_directory(final, private=True) as staging:
                build(staging)
            point_symlink(link, final.name)
        for path in self.root.glob(f"{_PREFIX}*"):
            if path.name not in (final.name, before):
                remove_tree(path)
        return final.name

    def __str__(self) -> str:
        """Return the folder."""
        return str(self.root)
