"""The vectors of a new generation: gathered in a file on disk in any order, then indexed."""

from __future__ import annotations

import os
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quantserve.core.files import open_private
from quantserve.rag.store.vectors import Floats, build_index

if TYPE_CHECKING:
    import faiss

VECTORS_FILE = "vectors.faiss"
_GATHERED_FILE = "vectors.tmp"
_FLOAT_BYTES = 4


class VectorWriter:
    """A table of vectors on disk.

    Written by ordinary writes, since a full disk under a memory map is a signal (SIGBUS) that ends the
    process without a word. Its room, and as much for the index made of it, is taken first, so that a disk too
    small is known before the embedding.
    """

    def __init__(self, directory: Path, rows: int, dimension: int) -> None:
        """Make room for `rows` vectors, at least one.

        Raises:
            OSError: there is no room.
        """
        self._directory = directory
        self._path = directory / _GATHERED_FILE
        self._shape = (rows, dimension)
        self._row_bytes = dimension * _FLOAT_BYTES
        self._stream = open_private(self._path, "w+b")
        try:
            os.posix_fallocate(self._stream.fileno(), 0, 2 * rows * self._row_bytes)
        except OSError:
            self._stream.close()
            raise

    def put(self, rows: list[int], vectors: Floats) -> None:
        """Set rows."""
        table = np.ascontiguousarray(vectors, np.float32)
        places = enumerate(rows)
        # Neighbours in the file are written at once: a row less its place is the same for all of a run.
        for _, run in groupby(places, key=lambda entry: entry[1] - entry[0]):
            run_places = list(run)
            first, last = run_places[0], run_places[-1]
            self._stream.seek(first[1] * self._row_bytes)
            self._stream.write(table[first[0] : last[0] + 1].tobytes())

    def finish(self) -> None:
        """Write the FAISS index (LlamaIndex's FaissVectorStore reads it as it is) and remove the table.

        Raises:
            OSError: the disk ran full.
        """
        self._stream.truncate(self._shape[0] * self._row_bytes)
        self._stream.close()
        table = np.memmap(self._path, np.float32, "r", shape=self._shape)
        write_index(build_index(table), self._directory / VECTORS_FILE)
        self._path.unlink()


def write_index(index: faiss.Index, path: Path) -> None:
    """Write a FAISS index through Python's file, whose failures are errors with a reason.

    Raises:
        OSError: the disk ran full.
    """
    import faiss

    with open_private(path, "wb") as stream:
        library: Any = faiss  # its stubs do not know the writer
        faiss.write_index(index, library.PyCallbackIOWriter(stream.write))
        stream.flush()
        os.fsync(stream.fileno())
