"""Copy a generation from the folder it was built in to new tables that nobody reads yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from quantserve.rag.store.chunks import Chunk, ChunkReader, digest_of
from quantserve.rag.store.generation import Generation
from quantserve.rag.store.manifest import MANIFEST
from quantserve.rag.store.postgres.connection import engine_of
from quantserve.rag.store.postgres.generation import (
    COLUMNS,
    HNSW_EF_CONSTRUCTION,
    HNSW_M,
    table_of,
    vector_store,
)
from quantserve.rag.store.vectors import FLAT_MAX_CHUNKS
from quantserve.rag.store.words import WORDS_FOLDER

if TYPE_CHECKING:
    from llama_index.core.schema import TextNode

    from quantserve.rag.store.base import Floats

_BATCH = 500
_PIECE_BYTES = 16 << 20


def copy_generation(folder: Path, address: str, number: int) -> str:
    """Fill the tables of generation `number`; return its manifest as JSON."""
    generation = Generation(folder)
    try:
        _make_tables(address, number)
        _copy_chunks(generation.chunks, address, number)
        _copy_words(folder / WORDS_FOLDER, address, number)
        _copy_vectors(generation, address, number)
    finally:
        generation.chunks.close()
    return (folder / MANIFEST).read_text(encoding="utf-8")


def _make_tables(address: str, number: int) -> None:
    chunks, words = table_of("chunks", number), table_of("words", number)
    with engine_of(address).begin() as connection:
        connection.execute(
            text(
                f"""
                CREATE TABLE {chunks} (
                    "row" integer PRIMARY KEY, id text, path text, file text, page integer, heading text,
                    start integer, "end" integer, text text, embedded text, words text, digest bytea
                );
                CREATE TABLE {words} (name text, part integer, data bytea, PRIMARY KEY (name, part));
                """
            )
        )


def _copy_chunks(chunks: ChunkReader, address: str, number: int) -> None:
    table = table_of("chunks", number)
    statement = text(
        f'INSERT INTO {table} ("row", {COLUMNS}, words, digest) VALUES '
        "(:row, :id, :path, :file, :page, :heading, :start, :end, :text, :embedded, :words, :digest)"
    )
    with engine_of(address).begin() as connection:
        batch: list[dict[str, Any]] = []
        for (row, chunk), words in zip(chunks.all(), chunks.words(), strict=True):
            values = {name: _storable(value) for name, value in vars(chunk).items()}
            batch.append(
                {
                    **values,
                    "row": row,
                    "words": _storable(" ".join(words)),
                    "digest": digest_of(chunk.embedded),
                }
            )
            if len(batch) == _BATCH:
                connection.execute(statement, batch)
                batch = []
        if batch:
            connection.execute(statement, batch)
        connection.execute(text(f"CREATE INDEX ON {table} (path)"))
        connection.execute(text(f"CREATE INDEX ON {table} (digest)"))
        connection.execute(text(f"CREATE INDEX ON {table} (id)"))


def _storable(value: Any) -> Any:
    """PostgreSQL's text has no NUL."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


def _copy_words(folder: Path, address: str, number: int) -> None:
    statement = text(f"INSERT INTO {table_of('words', number)} VALUES (:name, :part, :data)")
    with engine_of(address).begin() as connection:
        for path in sorted(folder.iterdir()):
            with path.open("rb") as file:
                part = 0
                while (data := file.read(_PIECE_BYTES)) or not part:
                    connection.execute(statement, {"name": path.name, "part": part, "data": data})
                    part += 1


def _copy_vectors(generation: Generation, address: str, number: int) -> None:
    manifest = generation.manifest
    store = vector_store(address, number, manifest.dimension, manifest.chunks, setup=True)
    for start in range(0, manifest.chunks, _BATCH):
        rows = list(range(start, min(start + _BATCH, manifest.chunks)))
        vectors = generation.vectors_of(rows)
        store.add(
            [
                _node(row, chunk, vector)
                for row, chunk, vector in zip(rows, generation.chunks.rows(rows), vectors, strict=True)
            ]
        )
    if manifest.chunks > FLAT_MAX_CHUNKS:
        with engine_of(address).begin() as connection:
            connection.execute(
                text(
                    f"CREATE INDEX ON {table_of('data', number)} USING hnsw (embedding vector_cosine_ops) "
                    f"WITH (m = {HNSW_M}, ef_construction = {HNSW_EF_CONSTRUCTION})"
                )
            )


def _node(row: int, chunk: Chunk, vector: Floats) -> TextNode:
    from llama_index.core.schema import TextNode

    metadata = {
        "row": row,
        "file": _storable(chunk.file),
        "page": chunk.page,
        "heading": _storable(chunk.heading),
    }
    return TextNode(id_=chunk.id, text=_storable(chunk.text), metadata=metadata, embedding=vector.tolist())
