"""What every store promises, by one suite against the local one and a real PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from quantserve.core.errors import UsageError
from quantserve.core.files import Locked, write_json
from quantserve.rag.config import RagConfig
from quantserve.rag.errors import IndexMismatch, NoIndex, StoreUnavailable
from quantserve.rag.retrieve.filters import Condition, Filters
from quantserve.rag.store.base import Store, open_store
from quantserve.rag.store.chunks import Chunk, ChunkWriter
from quantserve.rag.store.manifest import MANIFEST, FileEntry, IndexManifest, Settings
from quantserve.rag.store.vector_writer import VectorWriter
from quantserve.rag.store.words import words_of, write_words
from tests.integration.rag.conftest import Rag
from tests.programs import ROOT

TEXTS = ("양자화한 모델의 크기", "search by words", "회의실 예약", "a\0b")
SETTINGS = Settings(
    embedding_model="m", embedding_fingerprint="f", splitter="sentence", chunk_size=256, chunk_overlap=32
)


def unit_vectors(count: int) -> np.ndarray:
    rows = np.random.default_rng(7).normal(size=(count, 8)).astype(np.float32)
    unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def build(*texts: str) -> Callable[[Path], None]:
    """Return what fills a generation's folder with one chunk a text."""

    def fill(directory: Path) -> None:
        with ChunkWriter(directory) as writer:
            for row, text in enumerate(texts):
                page = row + 1 if row % 2 else None
                chunk = Chunk(f"id{row}", f"/{row}.md", f"{row}.md", page, "h", 0, len(text), text, text)
                writer.add(chunk, words_of(text))
        vectors = VectorWriter(directory, len(texts), 8)
        vectors.put(list(range(len(texts))), unit_vectors(len(texts)))
        vectors.finish()
        write_words(directory, map(words_of, texts))
        files = {
            f"/{row}.md": FileEntry(file=f"{row}.md", sha256="0", size_bytes=1, chunks=1)
            for row in range(len(texts))
        }
        manifest = IndexManifest(
            created="2026-11-24T00:00:00+00:00",
            settings=SETTINGS,
            dimension=8,
            chunks=len(texts),
            roots=("/",),
            excluded=(),
            files=files,
            versions={},
        )
        write_json(directory / MANIFEST, manifest.model_dump(mode="json"))

    return fill


@pytest.fixture
def store(stored: RagConfig) -> Store:
    return open_store(stored)


def publish(store: Store, *texts: str) -> str:
    with store.writer_lock():
        return store.publish(build(*texts))


def test_everything_of_a_generation_can_be_read(store: Store) -> None:
    publish(store, *TEXTS)
    index = store.open()
    rows = [row for row, _ in index.chunks.all()]
    assert rows == [0, 1, 2, 3]
    assert [chunk.text for chunk in index.chunks.rows([2, 0])] == ["회의실 예약", "양자화한 모델의 크기"]
    assert [(row, words) for row, _, words in index.chunks.with_words("/1.md")] == [(1, ["search", "word"])]
    assert np.allclose(index.vectors_of([3, 1]), unit_vectors(4)[[3, 1]], atol=1e-6)
    assert index.vectors_of([]).shape == (0, 8)
    assert [row for row, _ in index.search_words("모델을 양자화하면?", 99)] == [0]
    assert index.search_words("the of and", 5) == []
    found = index.chunks.find("id1")
    assert found is not None
    assert (found.text, index.chunks.find("none")) == ("search by words", None)
    assert (index.manifest.chunks, index.manifest.settings) == (4, SETTINGS)


def test_vectors_are_found_best_first_and_only_among_the_rows_asked_for(store: Store) -> None:
    publish(store, *TEXTS)
    index, vectors = store.open(), unit_vectors(4)
    found = index.search_vectors(vectors[1], 99)
    assert found[0][1] == pytest.approx(1.0, abs=1e-5)
    assert [row for row, _ in found] == np.argsort(-(vectors @ vectors[1])).tolist()
    with_pages = index.rows_where(Filters((Condition("page", 0, ">"),)).allows)
    assert with_pages.tolist() == [1, 3]
    assert {row for row, _ in index.search_vectors(vectors[0], 4, with_pages)} == {1, 3}
    assert index.search_vectors(vectors[0], 4, np.array([], np.int64)) == []
    with pytest.raises(IndexMismatch, match="8 numbers"):
        index.search_vectors(vectors[0][:5], 4)


def test_a_reader_keeps_its_generation_while_the_next_one_is_published(store: Store) -> None:
    first = publish(store, "one")
    reading = store.open()
    second = publish(store, "two", "three")
    assert first != second
    assert [chunk.text for _, chunk in reading.chunks.all()] == ["one"]
    assert [row for row, _ in reading.search_vectors(unit_vectors(1)[0], 5)] == [0]
    assert reading.search_words("one", 5) != []
    assert store.open().name == second


def test_a_failed_build_leaves_the_last_generation(store: Store) -> None:
    good = publish(store, "good")

    def fail(directory: Path) -> None:
        (directory / "vectors.faiss").write_text("half")
        raise ValueError("disk")

    with pytest.raises(ValueError, match="disk"), store.writer_lock():
        store.publish(fail)
    assert (store.open().name, store.open().manifest.chunks) == (good, 1)
    assert publish(store, "next") != good


def test_the_stamp_changes_with_every_publication_and_is_empty_when_all_is_taken_out(store: Store) -> None:
    assert store.stamp() == ""
    names, stamps = [], []
    for text in ("one", "two"):
        names.append(publish(store, text))
        stamps.append(store.stamp())
        assert store.stamp() == stamps[-1]
    with store.writer_lock():
        store.clear()
    assert (store.stamp(), store.current()) == ("", None)
    names.append(publish(store, "three"))
    stamps.append(store.stamp())
    assert (len(set(names)), len(set(stamps))) == (3, 3)
    assert names == sorted(names)
    assert [chunk.text for _, chunk in store.open().chunks.all()] == ["three"]


def test_two_writers_exclude_each_other(stored: RagConfig) -> None:
    first, second = open_store(stored), open_store(stored)
    with first.writer_lock(), pytest.raises(Locked), second.writer_lock():
        pass
    with second.writer_lock():
        pass


def test_an_empty_store_says_how_to_fill_it(store: Store) -> None:
    assert store.current() is None
    with pytest.raises(NoIndex, match="rag index"):
        store.open()


_DIE = """
import os, signal, sys
from pathlib import Path
from quantserve.rag.config import RagConfig
from quantserve.rag.store.base import open_store
from tests.integration.rag.test_stores import build

target, attribute = sys.argv[1].rsplit(":")
owner = __import__(target, fromlist=["x"])
*path, name = attribute.split(".")
for part in path:
    owner = getattr(owner, part)
setattr(owner, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
store = open_store(RagConfig(index_dir=Path(sys.argv[2])))
with store.writer_lock():
    store.publish(build("half", "written", "generation"))
"""
POINTS = {
    "faiss": (
        "tests.integration.rag.test_stores:write_words",
        "tests.integration.rag.test_stores:write_json",
        "quantserve.rag.store.generation:point_symlink",
    ),
    "postgres": (
        "tests.integration.rag.test_stores:write_json",
        "quantserve.rag.store.postgres.copy:_copy_words",
        "llama_index.vector_stores.postgres:PGVectorStore.add",
        "quantserve.rag.store.postgres.store:PostgresStore._swap",
    ),
}


def test_kill_9_at_any_point_leaves_the_last_generation(stored: RagConfig) -> None:
    store = open_store(stored)
    good = publish(store, "good")
    for point in POINTS["faiss" if stored.store == "faiss" else "postgres"]:
        died = subprocess.run(
            [sys.executable, "-c", _DIE, point, str(stored.index_dir)],
            cwd=ROOT,
            env=dict(os.environ),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert died.returncode == -signal.SIGKILL, died.stderr
        index = store.open()
        assert index.name == good, point
        assert [chunk.text for _, chunk in index.chunks.all()] == ["good"], point
        assert index.search_words("half", 5) == [], point
    new = publish(store, "whole", "again")
    index = store.open()
    assert (index.name, index.manifest.chunks, len(list(index.chunks.all()))) == (new, 2, 2)


def test_what_killed_writers_left_in_the_database_is_removed(database: str) -> None:
    from sqlalchemy import text

    from quantserve.rag.store.postgres.connection import engine_of

    store = open_store(RagConfig(store=database))
    for number in range(4):
        publish(store, str(number))
    with engine_of(database).begin() as connection:
        connection.execute(text("CREATE TABLE rag.chunks_gen_000099 ()"))
    publish(store, "last")
    with engine_of(database).connect() as connection:
        names = connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'rag'")).all()
    assert sorted(names) == sorted(
        ["current", "generations"]
        + [f"{kind}_gen_00000{number}" for kind in ("chunks", "data", "words") for number in (4, 5)]
    )


def test_a_writer_that_lost_its_lock_cannot_publish(database: str) -> None:
    """Its connection dies while it builds; another writer may have published since."""
    from sqlalchemy import text

    from quantserve.rag.store.postgres.connection import engine_of

    store = open_store(RagConfig(store=database))
    good = publish(store, "good")
    fill = build("late")

    def interrupted(directory: Path) -> None:
        fill(directory)
        with engine_of(database).begin() as connection:
            connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
            )

    with pytest.raises(StoreUnavailable), store.writer_lock():
        store.publish(interrupted)
    assert store.open().name == good


def test_above_the_exact_limit_an_hnsw_index_answers_and_filters_stay_exact(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy import text

    from quantserve.rag.store.postgres.connection import engine_of

    for module in ("copy", "generation"):
        monkeypatch.setattr(f"quantserve.rag.store.postgres.{module}.FLAT_MAX_CHUNKS", 100)
    store = open_store(RagConfig(store=database))
    publish(store, *(f"text {row}" for row in range(300)))
    with engine_of(database).connect() as connection:
        kinds = connection.scalars(text("SELECT indexdef FROM pg_indexes WHERE schemaname = 'rag'")).all()
    assert sum("USING hnsw" in kind for kind in kinds) == 1
    index, vectors = store.open(), unit_vectors(300)
    exact = np.argsort(-(vectors @ vectors[5]))[:10].tolist()
    assert len({row for row, _ in index.search_vectors(vectors[5], 10)} & set(exact)) >= 9
    worst = np.argsort(vectors @ vectors[5])[:20]
    assert [row for row, _ in index.search_vectors(vectors[5], 3, worst)] == worst[::-1][:3].tolist()


def test_an_old_reader_is_told_that_its_generation_is_gone(database: str) -> None:
    store = open_store(RagConfig(store=database))
    publish(store, "one")
    reading = store.open()
    publish(store, "two")
    publish(store, "three")
    with pytest.raises(IndexMismatch, match="Ask again"):
        reading.chunks.rows([0])


def test_a_server_that_is_not_there_and_an_address_that_is_none() -> None:
    address = "postgresql://me:secret@127.0.0.1:9/nothing"
    with pytest.raises(StoreUnavailable, match="RAG_STORE") as caught:
        open_store(RagConfig(store=address)).open()
    assert "secret" not in str(caught.value)
    for wrong in ("mysql://host/x", "no address"):
        with pytest.raises(UsageError, match="RAG_STORE"):
            open_store(RagConfig(store=wrong))


def test_every_command_works_on_the_shared_store_by_one_setting(
    database: str, rag: Rag, documents: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAG_STORE", database)
    made = rag("index", documents, "--backend", "onnx", "--json")
    assert (made.code, made.json["files"]) == (0, 3), made.err
    assert rag("search", "Where are the spare bulbs?", "--json").json["passages"][0]["page"] == 2
    assert rag("remove", "서버.txt").code == 0
    assert len(rag("list", "--json").json["files"]) == 2
    status = rag("status", "--base-url", "http://127.0.0.1:9/v1")
    assert "gen-000002" in status.err
    assert "postgresql://" in status.err
    assert not (tmp_path / "index" / "current").exists()
