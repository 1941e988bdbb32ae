"""One generation in PostgreSQL, opened for reading."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Integer, any_, cast, text

from quantserve.rag.errors import IndexMismatch
from quantserve.rag.store.base import Floats, Rows
from quantserve.rag.store.chunks import Chunk
from quantserve.rag.store.manifest import IndexManifest
from quantserve.rag.store.postgres.connection import SCHEMA, async_engine_of, engine_of, translated
from quantserve.rag.store.vectors import FLAT_MAX_CHUNKS
from quantserve.rag.store.words import WORDS_FOLDER, WordIndex

if TYPE_CHECKING:
    from llama_index.vector_stores.postgres import PGVectorStore

COLUMNS = ", ".join(f'"{field.name}"' for field in fields(Chunk))
HNSW_M, HNSW_EF_CONSTRUCTION, HNSW_EF_SEARCH = 16, 64, 200
_BATCH = 500


def generation_name(number: int) -> str:
    """Return what generation `number` is called, as the local store calls it."""
    return f"gen-{number:06d}"


def table_of(kind: str, number: int) -> str:
    """Return the full name of a generation's table; `kind` is data, chunks or words."""
    return f"{SCHEMA}.{kind}_gen_{number:06d}"


def vector_store(address: str, number: int, dimension: int, chunks: int, *, setup: bool) -> PGVectorStore:
    """Return LlamaIndex's store over one generation's table."""
    from llama_index.vector_stores.postgres import PGVectorStore

    only_rows: Any = _only_rows  # LlamaIndex's type for it has no keywords, but its call gives them
    return PGVectorStore(
        connection_string=address,
        async_connection_string=address,
        engine=engine_of(address),
        async_engine=async_engine_of(address),
        table_name=f"gen_{number:06d}",
        schema_name=SCHEMA,
        embed_dim=dimension,
        use_jsonb=True,
        perform_setup=setup,
        initialization_fail_on_error=True,
        indexed_metadata_keys={("row", "int")},
        # Exact up to so many chunks, as in the local store; the writer makes the HNSW index after loading.
        hnsw_kwargs={"hnsw_ef_search": HNSW_EF_SEARCH} if chunks > FLAT_MAX_CHUNKS and not setup else None,
        customize_query_fn=only_rows,
    )


def _row(table: Any) -> Any:
    return cast(table.metadata_["row"].astext, Integer)


def _only_rows(statement: Any, table: Any, **query: Any) -> Any:
    """Limit a search to some rows: exactly, so its order is by an expression that no index serves."""
    if query.get("among") is None:
        return statement
    distance = table.embedding.cosine_distance(query["vector"]) + 0
    return statement.where(_row(table) == any_(query["among"])).order_by(None).order_by(distance)


class PostgresChunks:
    """Reads chunks of one generation; safe to use from several threads."""

    def __init__(self, address: str, number: int) -> None:
        """Nothing is read yet."""
        self._address, self._table = address, table_of("chunks", number)

    def _select(self, columns: str, rest: str, **values: Any) -> Iterator[Any]:
        with translated(self._address), engine_of(self._address).connect() as connection:
            streamed = connection.execution_options(yield_per=_BATCH)
            yield from streamed.execute(text(f"SELECT {columns} FROM {self._table} {rest}"), values)

    def rows(self, rows: Iterable[int]) -> list[Chunk]:
        """Return chunks by row number, in the order asked for."""
        wanted = list(rows)
        found = {
            record[0]: Chunk(*record[1:])
            for record in self._select(f'"row", {COLUMNS}', 'WHERE "row" = ANY(:rows)', rows=wanted)
        }
        return [found[row] for row in wanted]

    def all(self) -> Iterator[tuple[int, Chunk]]:
        """Yield (row, chunk) of everything."""
        for record in self._select(f'"row", {COLUMNS}', 'ORDER BY "row"'):
            yield record[0], Chunk(*record[1:])

    def of_file(self, path: str) -> list[tuple[int, Chunk]]:
        """Return (row, chunk) of one document in reading order."""
        return [(row, chunk) for row, chunk, _ in self.with_words(path)]

    def with_words(self, path: str) -> Iterator[tuple[int, Chunk, list[str]]]:
        """Yield (row, chunk, words) of one document in reading order."""
        for record in self._select(
            f'"row", {COLUMNS}, words', 'WHERE path = :path ORDER BY "row"', path=path
        ):
            yield record[0], Chunk(*record[1:-1]), record[-1].split()

    def find(self, identity: str) -> Chunk | None:
        """Return the chunk of an id."""
        found = next(self._select(COLUMNS, "WHERE id = :id LIMIT 1", id=identity), None)
        return None if found is None else Chunk(*found)

    def row_of(self, digest: bytes) -> int | None:
        """Return a row whose embedded text has this digest."""
        found = next(self._select('"row"', "WHERE digest = :digest LIMIT 1", digest=digest), None)
        return None if found is None else int(found[0])

    def close(self) -> None:
        """Connections go back to the pool by themselves."""


class PostgresGeneration:
    """One whole index in the shared store; its word index is loaded when first used."""

    def __init__(self, address: str, number: int, manifest: IndexManifest) -> None:
        """Nothing is read yet."""
        self._address, self._number = address, number
        self.manifest = manifest
        self.chunks = PostgresChunks(address, number)
        self._vectors = vector_store(address, number, manifest.dimension, manifest.chunks, setup=False)

    @property
    def name(self) -> str:
        """The generation's name, which changes with every change of the index."""
        return generation_name(self._number)

    @functools.cached_property
    def words(self) -> WordIndex:
        """The word index, the same files as in the local store."""
        statement = text(f"SELECT name, data FROM {table_of('words', self._number)} ORDER BY name, part")
        with tempfile.TemporaryDirectory(prefix="rag-words-") as folder:
            (Path(folder) / WORDS_FOLDER).mkdir()
            with translated(self._address), engine_of(self._address).connect() as connection:
                for name, data in connection.execution_options(yield_per=1).execute(statement):
                    with (Path(folder) / WORDS_FOLDER / name).open("ab") as file:
                        file.write(data)
            return WordIndex(Path(folder))

    def search_vectors(self, query: Floats, k: int, among: Rows | None = None) -> list[tuple[int, float]]:
        """Return up to `k` (row, cosine), best first; only rows of `among` where it is given.

        Raises:
            IndexMismatch: the query's vector has another dimension than the index.
        """
        from llama_index.core.vector_stores import VectorStoreQuery

        if query.size != self.manifest.dimension:
            raise IndexMismatch(
                f"the index's vectors have {self.manifest.dimension} numbers, the question's {query.size}",
                mend="Index again: quantserve rag index; or name the model the index was made with",
            )
        if k < 1 or (among is not None and not len(among)):
            return []
        vector = query.tolist()
        wanted = VectorStoreQuery(query_embedding=vector, similarity_top_k=k)
        limits = {} if among is None else {"among": among.tolist(), "vector": vector}
        with translated(self._address):
            found = self._vectors.query(wanted, **limits)
        return [
            (int(node.metadata["row"]), float(similarity))
            for node, similarity in zip(found.nodes or [], found.similarities or [], strict=True)
        ]

    def search_words(self, query: str, k: int, among: Rows | None = None) -> list[tuple[int, float]]:
        """Return up to `k` (row, BM25 score) above zero, best first; only rows of `among` where given."""
        return self.words.search(query, k, among)

    def vocabulary(self) -> Collection[str]:
        """Return every word of the word index."""
        return self.words.vocabulary

    def rows_where(self, allows: Callable[[Chunk], bool]) -> Rows:
        """Return the rows of the chunks that `allows` says yes to."""
        return np.array([row for row, chunk in self.chunks.all() if allows(chunk)], np.int64)

    def vectors_of(self, rows: list[int]) -> Floats:
        """Return stored vectors by row number."""
        key = "CAST((metadata_ ->> 'row') AS INTEGER)"
        statement = text(
            f"SELECT {key}, CAST(embedding AS real[]) FROM {table_of('data', self._number)} "
            f"WHERE {key} = ANY(:rows)"
        )
        with translated(self._address), engine_of(self._address).connect() as connection:
            found = {record[0]: record[1] for record in connection.execute(statement, {"rows": rows})}
        return np.array([found[row] for row in rows], np.float32).reshape(len(rows), self.manifest.dimension)
