"""The vectors of a new generation: gathered in a file on disk in any order, then indexed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rag.store.vectors import Floats, build_index

VECTORS_FILE = "vectors.faiss"
_GATHERED_FILE = "vectors.tmp"


class VectorWriter:
    """A table of vectors on disk."""

    def __init__(self, directory: Path, rows: int, dimension: int) -> None:
        """Make room for `rows` vectors, at least one."""
        self._directory = directory
        self._path = directory / _GATHERED_FILE
        self._table = np.memmap(self._path, np.float32, "w+", shape=(rows, dimension))

    def put(self, rows: list[int], vectors: Floats) -> None:
        """Set rows."""
        self._table[rows] = vectors

    def finish(self) -> None:
        """Write the FAISS index (LlamaIndex's FaissVectorStore reads it as it is) and remove the table."""
        import faiss

        faiss.write_index(build_index(self._table), str(self._directory / VECTORS_FILE))
        self._path.unlink()
