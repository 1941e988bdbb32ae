"""Any sequence of adding, changing, deleting and crashing leaves vectors, words and chunks in step."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from quantserve.core.errors import InputError
from quantserve.rag.config import RagConfig, SplitConfig
from quantserve.rag.ingest import index_paths, remove_documents
from quantserve.rag.loaders.isolated import IsolatedReader
from quantserve.rag.store.base import Index, open_store
from quantserve.rag.store.words import words_of
from tests.integration.rag.fake_model import HashEmbedder, fake_model, vector_of

NAMES = st.sampled_from(["a.txt", "b.md", "deep/c.txt", "d.csv"])
WORDS = ("lighthouse", "harbour", "keeper", "storm", "발전기", "회의실", "연차", "등대")
SENTENCES = st.lists(st.sampled_from(WORDS), min_size=3, max_size=6).map(lambda words: " ".join(words) + ".")
TEXTS = st.lists(SENTENCES, min_size=1, max_size=6).map("\n\n".join)
CRASHES = (
    "quantserve.rag.ingest.build.Build._keep",
    "quantserve.rag.ingest.build.Build._write_vectors",
    "quantserve.rag.store.vector_writer.VectorWriter.finish",
    "quantserve.rag.store.words.write_words",
    "quantserve.rag.ingest.build.write_json",
    "quantserve.rag.store.generation.point_symlink",
    "tests.integration.rag.fake_model.HashEmbedder.embed_passages",
)
THEN = st.sampled_from(["index", "index", "index", "nothing", *CRASHES])


READER = IsolatedReader()
"""One process reads for all steps: starting one for each would take most of the time."""


@pytest.fixture(scope="module", autouse=True)
def reader() -> Iterator[None]:
    with READER:
        yield


class Crash(BaseException):
    """Stands for a process that ends: nothing may catch it."""


class Documents(RuleBasedStateMachine):
    """A folder, its index, and what should be in it."""

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="rag-consistency-"))
        self.folder = self.root / "documents"
        self.folder.mkdir()
        self.config = RagConfig(
            index_dir=self.root / "index",
            store="faiss",
            embedding=fake_model(self.root / "model"),
            split=SplitConfig(chunk_tokens=8, overlap_tokens=0),
        )
        self.on_disk: dict[str, str] = {}
        self.indexed: dict[str, str] = {}
        self.excluded: set[str] = set()

    def teardown(self) -> None:
        if hasattr(self, "root"):
            shutil.rmtree(self.root)

    @rule(texts=st.dictionaries(NAMES, TEXTS, min_size=1, max_size=3), then=THEN)
    def write(self, texts: dict[str, str], then: str) -> None:
        for name, text in texts.items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        self.on_disk |= texts
        self._then(then)

    @precondition(lambda self: bool(self.on_disk))
    @rule(data=st.data(), then=THEN)
    def delete(self, data: st.DataObject, then: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.on_disk)))
        (self.folder / name).unlink()
        del self.on_disk[name]
        self._then(then)

    def _then(self, what: str) -> None:
        if what == "index":
            self._index()
        elif what != "nothing":
            self._crash(what)

    def _index(self) -> None:
        wanted = self._wanted()
        if not wanted:
            with pytest.raises(InputError):
                index_paths([self.folder], self.config, load_model=HashEmbedder, reader=READER)
            return
        report = index_paths([self.folder], self.config, load_model=HashEmbedder, reader=READER)
        assert report.problems == {}
        self.indexed = wanted

    def _wanted(self) -> dict[str, str]:
        return {name: text for name, text in self.on_disk.items() if name not in self.excluded}

    def _crash(self, point: str) -> None:
        before = open_store(self.config).current()
        with patch(point, side_effect=Crash):
            try:
                index_paths([self.folder], self.config, load_model=HashEmbedder, reader=READER)
            except (Crash, InputError):
                after = open_store(self.config).current()
                assert (after and after.name) == (before and before.name)
            else:  # the point was never reached: nothing had changed, or no passage had to be embedded
                self.indexed = self._wanted()

    @precondition(lambda self: len(self.indexed) > 1)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.indexed)))
        remove_documents([str(self.folder / name)], self.config, load_model=HashEmbedder)
        del self.indexed[name]
        self.excluded.add(name)

    @invariant()
    def in_step(self) -> None:
        if not hasattr(self, "config"):
            return
        index = open_store(self.config).current()
        assert (index is None) == (not self.indexed)
        if index is not None:
            check(index, {str(self.folder / name): text for name, text in self.indexed.items()})


def check(index: Index, documents: dict[str, str]) -> None:
    """Compare all three parts of a generation, and its manifest, with the documents."""
    found = list(index.chunks.all())
    rows = [row for row, _ in found]
    assert rows == list(range(index.manifest.chunks))
    assert {chunk.path for _, chunk in found} == set(documents) == set(index.manifest.files)
    vectors = index.vectors_of(rows)
    for (row, chunk), vector in zip(found, vectors, strict=True):
        assert np.allclose(vector, vector_of(chunk.embedded), atol=1e-6)
        assert dict(index.search_vectors(vector, len(rows)))[row] == pytest.approx(1.0, abs=1e-5)
        word = words_of(chunk.text)[0]
        holding = {other for other, one in found if word in words_of(one.embedded)}
        assert {other for other, _ in index.search_words(word, 99)} == holding
    for path, text in documents.items():
        kept = " ".join(chunk.text for _, chunk in index.chunks.of_file(path)).split()
        if not path.endswith(".csv"):
            assert kept == text.split()
        assert index.manifest.files[path].chunks == len(index.chunks.of_file(path))


TestDocuments = Documents.TestCase
TestDocuments.settings = settings(
    max_examples=25,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def test_the_same_holds_in_the_shared_store(database: str, tmp_path: Path) -> None:
    """One long sequence: PostgreSQL takes ten times as long for each step as the local store."""
    config = RagConfig(
        store=database,
        embedding=fake_model(tmp_path / "model"),
        split=SplitConfig(chunk_tokens=8, overlap_tokens=0),
    )
    folder = tmp_path / "documents"
    folder.mkdir()
    documents: dict[str, str] = {}

    def write(name: str, *words: str) -> None:
        (folder / name).write_text(". ".join(words) + ".")
        documents[str(folder / name)] = (folder / name).read_text()

    def indexed() -> None:
        index_paths([folder], config, load_model=HashEmbedder, reader=READER)
        check(open_store(config).open(), documents)

    write("a.txt", "the lighthouse keeper", "storm at the harbour")
    indexed()
    write("b.txt", "등대 발전기", "회의실 연차")
    before = dict(documents)
    for point in ("quantserve.rag.store.words.write_words", "quantserve.rag.store.postgres.copy._copy_words"):
        with patch(point, side_effect=Crash), pytest.raises(Crash):
            index_paths([folder], config, load_model=HashEmbedder, reader=READER)
    check(open_store(config).open(), {path: text for path, text in before.items() if path.endswith("a.txt")})
    indexed()
    write("a.txt", "storm at the harbour", "keeper of the storm")
    indexed()
    (folder / "b.txt").unlink()
    del documents[str(folder / "b.txt")]
    indexed()
