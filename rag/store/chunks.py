"""The chunks of a generation in SQLite: one row each, numbered like the vectors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

CHUNKS_FILE = "chunks.db"


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


def write_chunks(directory: Path, chunks: Sequence[Chunk]) -> None:
    """Write all chunks; the first has row 0."""
    connection = sqlite3.connect(directory / CHUNKS_FILE)
    with connection:
        connection.execute(f'CREATE TABLE chunks ("row" INTEGER PRIMARY KEY, {_COLUMNS})')
        marks = ", ".join("?" * (len(fields(Chunk)) + 1))
        connection.executemany(
            f"INSERT INTO chunks VALUES ({marks})",
            ((row, *astuple(chunk)) for row, chunk in enumerate(chunks)),
        )
        connection.execute("CREATE INDEX by_path ON chunks(path)")
    connection.close()


class ChunkReader:
    """Reads chunks of one generation; safe to use from several threads."""

    def __init__(self, directory: Path) -> None:
        """Open read-only; the file never changes."""
        uri = f"{(directory / CHUNKS_FILE).absolute().as_uri()}?mode=ro&immutable=1"
        self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)

    def rows(self, rows: Iterable[int]) -> list[Chunk]:
        """Return chunks by row number, in the order asked for."""
        wanted = list(rows)
        marks = ", ".join("?" * len(wanted))
        found = {
            record[0]: Chunk(*record[1:])
            for record in self._connection.execute(
                f'SELECT "row", {_COLUMNS} FROM chunks WHERE "row" IN ({marks})', wanted
            )
        }
        return [found[row] for row in wanted]

    def all(self) -> Iterator[tuple[int, Chunk]]:
        """Yield (row, chunk) of everything."""
        for record in self._connection.execute(f'SELECT "row", {_COLUMNS} FROM chunks ORDER BY "row"'):
            yield record[0], Chunk(*record[1:])

    def of_file(self, path: str) -> list[tuple[int, Chunk]]:
        """Return (row, chunk) of one file in reading order."""
        records = self._connection.execute(
            f'SELECT "row", {_COLUMNS} FROM chunks WHERE path = ? ORDER BY "row"', (path,)
        )
        return [(record[0], Chunk(*record[1:])) for record in records]

    def embedded_texts(self) -> dict[str, int]:
        """Return every embedded text and a row that has its vector."""
        return dict(self._connection.execute('SELECT embedded, "row" FROM chunks'))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
