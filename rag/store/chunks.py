"""The chunks of a generation in SQLite: one row each, numbered like the vectors.

Beside each chunk stand the words it is searched by, so that a kept chunk is not analysed again, and
a digest of what was embedded, by which a passage's vector is found again when its file changed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Self

CHUNKS_FILE = "chunks.db"
_PRIMARY = 0xFF
"""The part of SQLite's error codes that names the kind."""
_AT_ONCE = 500
"""Parameters in one statement."""


@dataclass(frozen=True)
class Chunk:
    """A passage and its place; `start` and `end` are offsets in the document's text."""

    id: str
    path: str
    file: str
    page: int | None
    heading: str
    start: int
    end: int
    text: str
    embedded: str
    """What was embedded: the heading and the text."""


_COLUMNS = ", ".join(f'"{field.name}"' for field in fields(Chunk))


def digest_of(embedded: str) -> bytes:
    """Return what an embedded text is known by."""
    return hashlib.blake2b(embedded.encode(), digest_size=16).digest()


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn SQLite's errors about the disk into the system's.

    Raises:
        OSError: ENOSPC where the disk is full, EIO where it refuses otherwise.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        code = error.sqlite_errorcode & _PRIMARY
        if code == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise OSError(errno.EIO, str(error)) from error
        raise


class ChunkWriter:
    """Writes chunks one after the other; the first has row 0."""

    def __init__(self, directory: Path) -> None:
        """Create the file."""
        with disk_errors():
            self._connection = sqlite3.connect(directory / CHUNKS_FILE)
            # The folder appears by one rename after a sync: a journal would only slow it down.
            self._connection.execute("PRAGMA journal_mode=OFF")
            self._connection.execute("PRAGMA synchronous=OFF")
            self._connection.execute(
                f'CREATE TABLE chunks ("row" INTEGER PRIMARY KEY, {_COLUMNS}, words TEXT, digest BLOB)'
            )
        self._marks = ", ".join("?" * (len(fields(Chunk)) + 3))
        self.count = 0

    def add(self, chunk: Chunk, words: Sequence[str]) -> int:
        """Write one chunk and its words; return its row."""
        row = self.count
        with disk_errors():
            self._connection.execute(
                f"INSERT INTO chunks VALUES ({self._marks})",
                (row, *astuple(chunk), " ".join(words), digest_of(chunk.embedded)),
            )
        self.count += 1
        return row

    def truncate(self, count: int) -> None:
        """Take back the chunks from row `count` on."""
        with disk_errors():
            self._connection.execute('DELETE FROM chunks WHERE "row" >= ?', (count,))
        self.count = count

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file with its indexes."""
        try:
            if kind is None:
                with disk_errors():
                    self._connection.execute("CREATE INDEX by_path ON chunks(path)")
                    self._connection.execute("CREATE INDEX by_digest ON chunks(digest)")
                    self._connection.execute("CREATE INDEX by_id ON chunks(id)")
                    self._connection.commit()
        finally:
            self._connection.close()


class ChunkReader:
    """Reads chunks of one generation; safe to use from several threads."""

    def __init__(self, directory: Path) -> None:
        """Open read-only; the file never changes."""
        uri = f"{(directory / CHUNKS_FILE).absolute().as_uri()}?mode=ro&immutable=1"
        self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)

    def rows(self, rows: Iterable[int]) -> list[Chunk]:
        """Return chunks by row number, in the order asked for."""
        wanted = list(rows)
        found: dict[int, Chunk] = {}
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(part))
            for record in self._connection.execute(
                f'SELECT "row", {_COLUMNS} FROM chunks WHERE "row" IN ({marks})', part
            ):
                found[record[0]] = Chunk(*record[1:])
        return [found[row] for row in wanted]

    def all(self) -> Iterator[tuple[int, Chunk]]:
        """Yield (row, chunk) of everything."""
        for record in self._connection.execute(f'SELECT "row", {_COLUMNS} FROM chunks ORDER BY "row"'):
            yield record[0], Chunk(*record[1:])

    def of_file(self, path: str) -> list[tuple[int, Chunk]]:
        """Return (row, chunk) of one document in reading order."""
        return [(row, chunk) for row, chunk, _ in self.with_words(path)]

    def with_words(self, path: str) -> Iterator[tuple[int, Chunk, list[str]]]:
        """Yield (row, chunk, words) of one document in reading order."""
        for record in self._connection.execute(
            f'SELECT "row", {_COLUMNS}, words FROM chunks WHERE path = ? ORDER BY "row"', (path,)
        ):
            yield record[0], Chunk(*record[1:-1]), record[-1].split()

    def words(self) -> Iterator[list[str]]:
        """Yield every chunk's words, by row."""
        for (words,) in self._connection.execute('SELECT words FROM chunks ORDER BY "row"'):
            yield words.split()

    def find(self, identity: str) -> Chunk | None:
        """Return the chunk of an id."""
        found = self._connection.execute(
            f"SELECT {_COLUMNS} FROM chunks WHERE id = ? LIMIT 1", (identity,)
        ).fetchone()
        return None if found is None else Chunk(*found)

    def row_of(self, digest: bytes) -> int | None:
        """Return a row whose embedded text has this digest."""
        found = self._connection.execute(
            'SELECT "row" FROM chunks WHERE digest = ? LIMIT 1', (digest,)
        ).fetchone()
        return None if found is None else int(found[0])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
