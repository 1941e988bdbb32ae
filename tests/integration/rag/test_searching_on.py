"""A searcher whose generation writers have replaced goes on, and copies of a file do not fill the places."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from quantserve.rag.config import RagConfig, RetrieveConfig, RetrieveMode
from quantserve.rag.errors import NoIndex
from quantserve.rag.ingest import index_paths
from quantserve.rag.retrieve import Condition, Filters, Searcher
from quantserve.rag.store.base import open_store
from tests.integration.rag.fake_model import HashEmbedder, fake_model


@pytest.fixture
def config(tmp_path: Path) -> RagConfig:
    return RagConfig(index_dir=tmp_path / "index", embedding=fake_model(tmp_path / "model"))


def publish(config: RagConfig, folder: Path, text: str) -> None:
    (folder / "log.txt").write_text(text)
    index_paths([folder], config, load_model=HashEmbedder)


@pytest.mark.parametrize("mode", ["hybrid", "hybrid-rrf", "dense", "bm25"])
@pytest.mark.parametrize("used", ["never", "by meaning", "by words"])
def test_a_searcher_opened_before_three_publishes_answers(
    config: RagConfig, tmp_path: Path, mode: RetrieveMode, used: str
) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    publish(config, folder, "the lamp is lit")
    searcher = Searcher(open_store(config).open(), config, HashEmbedder)
    if used != "never":
        searcher.search("lamp", RetrieveConfig(mode="dense" if used == "by meaning" else "bm25"))
    opened = searcher.generation.name
    for number in range(3):
        publish(config, folder, f"the lamp is lit again {number}")
    assert not (config.index_dir / opened).exists()
    (found,) = searcher.search("lamp", RetrieveConfig(mode=mode))
    assert found.chunk.text in ("the lamp is lit", "the lamp is lit again 2")
    filtered = Filters((Condition("file", "log", "contains"),))
    assert len(searcher.search("lamp", RetrieveConfig(mode=mode, mmr=0.5), filtered)) == 1


def test_after_the_index_was_removed_it_says_so(config: RagConfig, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    publish(config, folder, "the lamp is lit")
    searcher = Searcher(open_store(config).open(), config, HashEmbedder)
    store = open_store(config)
    with store.writer_lock():
        store.clear()
    with pytest.raises(NoIndex, match="rag index PATH"):
        searcher.search("lamp")


@pytest.mark.parametrize("mode", ["hybrid", "hybrid-rrf", "dense", "bm25"])
@pytest.mark.parametrize("copies", [6, 120])
def test_copies_of_a_file_take_one_place(
    config: RagConfig, tmp_path: Path, mode: RetrieveMode, copies: int
) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(copies):
        (folder / f"copy{number:03}.txt").write_text("the keeper lights the lamp\n")
    (folder / "other.txt").write_text("a lamp needs oil\n")
    (folder / "third.txt").write_text("the lamp is red\n")
    (folder / "fourth.txt").write_text("the lamp is not red\n")
    index_paths([folder], config, load_model=HashEmbedder)
    searcher = Searcher(open_store(config).open(), config, HashEmbedder)
    found = searcher.search("the keeper lights the lamp", RetrieveConfig(mode=mode, top_k=4, candidates=10))
    assert sorted(passage.chunk.text.strip() for passage in found) == [
        "a lamp needs oil",
        "the keeper lights the lamp",
        "the lamp is not red",
        "the lamp is red",
    ]
    (copied,) = (passage for passage in found if "keeper" in passage.chunk.text)
    assert len(copied.also_in) >= 5
    assert copied.chunk.file not in copied.also_in


@pytest.mark.parametrize("mode", ["hybrid", "dense", "bm25"])
@pytest.mark.parametrize("mmr", [0.5, 1.0])
def test_mmr_begins_with_what_the_search_found_best(
    config: RagConfig, tmp_path: Path, mode: RetrieveMode, mmr: float
) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.txt").write_text(f"lamp number {number} burns {'oil ' * number}\n")
    index_paths([folder], config, load_model=HashEmbedder)
    searcher = Searcher(open_store(config).open(), config, HashEmbedder)
    plain = searcher.search("oil for lamp number 7", RetrieveConfig(mode=mode, top_k=6))
    varied = searcher.search("oil for lamp number 7", RetrieveConfig(mode=mode, top_k=6, mmr=mmr))
    ids = [passage.chunk.id for passage in plain]
    assert varied[0].chunk.id == ids[0]
    if mmr == 1.0:
        assert [passage.chunk.id for passage in varied] == ids


def test_words_that_cannot_be_written_are_searched_for_as_far_as_they_can(
    config: RagConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    publish(config, folder, "the lamp is lit")
    searcher = Searcher(open_store(config).open(), config, HashEmbedder)
    assert searcher.search("lamp \ud800", replace(RetrieveConfig(), mode="bm25"))
    assert len(searcher.search("\udfff")) == 1
