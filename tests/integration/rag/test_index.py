"""Indexing and searching with the real embedding model, in the local and in the shared store."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from quantserve.core.errors import InputError
from quantserve.core.files import Locked
from quantserve.rag.config import EmbeddingConfig, RagConfig, RetrieveConfig, SplitConfig
from quantserve.rag.embedding.backend import Embedder
from quantserve.rag.errors import IndexMismatch, NoIndex
from quantserve.rag.ingest import IndexReport, index_paths
from quantserve.rag.retrieve import Searcher
from quantserve.rag.store.base import open_store
from tests.integration.rag.conftest import ROOT, Rag, write_pdf


def no_model() -> Embedder:
    raise AssertionError("no model is needed")


@pytest.fixture
def indexed(stored: RagConfig, documents: Path, embedder: Embedder) -> IndexReport:
    return index_paths([documents], stored, load_model=lambda: embedder)


def is_locked(stored: RagConfig) -> bool:
    try:
        with open_store(stored).writer_lock():
            return False
    except Locked:
        return True


def searcher(stored: RagConfig, embedder: Embedder) -> Searcher:
    opened = Searcher.open(stored)
    opened._load_model = lambda: embedder
    return opened


@pytest.mark.parametrize("mode", ["hybrid", "dense", "bm25"])
@pytest.mark.parametrize(
    ("question", "file", "page", "heading"),
    [
        ("조부모가 돌아가시면 며칠을 쉬나요?", "휴가.md", None, "휴가 규정 › 경조 휴가"),
        ("발전기는 언제 켜지나요?", "서버.txt", None, ""),
        ("Where are the spare bulbs?", "lighthouse.pdf", 2, ""),
        ("When may visitors climb the tower?", "lighthouse.pdf", 3, ""),
    ],
)
def test_the_right_place_comes_first(
    indexed: IndexReport,
    stored: RagConfig,
    embedder: Embedder,
    mode: str,
    question: str,
    file: str,
    page: int | None,
    heading: str,
) -> None:
    options = RetrieveConfig(mode=mode)  # type: ignore[arg-type]
    best = searcher(stored, embedder).search(question, options)[0].chunk
    assert (Path(best.file).name, best.page, best.heading) == (file, page, heading)


def test_chunks_know_their_span_and_no_running_head(
    indexed: IndexReport, stored: RagConfig, embedder: Embedder, documents: Path
) -> None:
    text = (documents / "휴가.md").read_text(encoding="utf-8")
    for chunk in (
        passage.chunk
        for passage in searcher(stored, embedder).search("휴가 연차 lamp", RetrieveConfig(top_k=20))
    ):
        assert "lighthouse handbook" not in chunk.text
        if chunk.file.endswith("휴가.md"):
            assert text[chunk.start : chunk.end] == chunk.text


def test_more_passages_than_there_are(indexed: IndexReport, stored: RagConfig, embedder: Embedder) -> None:
    found = searcher(stored, embedder).search("연차", RetrieveConfig(top_k=500))
    assert len(found) == indexed.chunks
    assert searcher(stored, embedder).search("  ") == []


def test_nothing_changed_loads_no_model(indexed: IndexReport, stored: RagConfig, documents: Path) -> None:
    again = index_paths([documents], stored, load_model=no_model)
    assert (again.unchanged, again.generation) == (True, indexed.generation)
    assert index_paths([], stored, load_model=no_model).unchanged


def test_a_changed_file_replaces_its_passages_and_embeds_only_what_is_new(
    indexed: IndexReport, stored: RagConfig, embedder: Embedder, documents: Path
) -> None:
    path = documents / "휴가.md"
    path.write_text(path.read_text(encoding="utf-8").replace("사흘을", "나흘을"), encoding="utf-8")
    report = index_paths([documents], stored, load_model=lambda: embedder)
    assert (len(report.changed), report.embedded, report.chunks) == (1, 1, indexed.chunks)
    texts = [
        passage.chunk.text
        for passage in searcher(stored, embedder).search("경조 휴가", RetrieveConfig(top_k=50))
    ]
    assert sum("나흘을" in text for text in texts) == 1
    assert not any("사흘을" in text for text in texts)


def test_a_deleted_file_leaves_no_trace_and_needs_no_model(
    indexed: IndexReport, stored: RagConfig, embedder: Embedder, documents: Path
) -> None:
    (documents / "lighthouse.pdf").unlink()
    report = index_paths([documents], stored, load_model=no_model)
    assert (len(report.removed), report.embedded) == (1, 0)
    assert report.chunks == indexed.chunks - 3
    found = searcher(stored, embedder).search("spare bulbs tower lamp", RetrieveConfig(top_k=50))
    assert not any(passage.chunk.file.endswith(".pdf") for passage in found)


def test_bad_documents_are_reported_and_stop_nothing(
    stored: RagConfig, embedder: Embedder, documents: Path
) -> None:
    (documents / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    (documents / "empty.txt").write_text("")
    write_pdf(documents / "scan.pdf", ["Page one has a text of its own.", ""])
    report = index_paths([documents], stored, load_model=lambda: embedder)
    assert report.files == 4
    assert sorted(Path(file).name for file in report.problems) == ["broken.pdf", "empty.txt"]
    (warnings,) = report.warnings.values()
    assert "page 2" in warnings[0]


def test_only_bad_documents_fail_and_keep_the_old_index(
    indexed: IndexReport, stored: RagConfig, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_text("")
    with pytest.raises(InputError, match="not one of 1 documents"):
        index_paths([bad], stored, replace=True, load_model=no_model)
    assert open_store(stored).open().name == indexed.generation


def test_another_splitting_embeds_everything_again(
    indexed: IndexReport, stored: RagConfig, embedder: Embedder, documents: Path
) -> None:
    other = replace(stored, split=SplitConfig(chunk_tokens=64, overlap_tokens=8))
    report = index_paths([documents], other, load_model=lambda: embedder)
    assert report.embedded == report.chunks


def test_a_question_by_another_model_is_refused(indexed: IndexReport, stored: RagConfig) -> None:
    other = EmbeddingConfig(model=stored.embedding.model, query_prefix="Q: ")
    with pytest.raises(IndexMismatch, match="Index again"):
        Searcher.open(replace(stored, embedding=other))


def test_no_index_says_how_to_make_one(stored: RagConfig) -> None:
    with pytest.raises(NoIndex, match="quantserve rag index"):
        Searcher.open(stored)


def test_llama_index_retrieves_through_it(
    indexed: IndexReport, stored: RagConfig, embedder: Embedder
) -> None:
    from llama_index.core.postprocessor import SimilarityPostprocessor

    from quantserve.rag.retrieve.llama import RagRetriever

    nodes = RagRetriever(searcher(stored, embedder)).retrieve("Where are the spare bulbs?")
    assert nodes[0].metadata["page"] == 2
    assert SimilarityPostprocessor(similarity_cutoff=0.7).postprocess_nodes(nodes)


def test_kill_9_leaves_the_last_generation_and_the_next_run_finishes(
    indexed: IndexReport, stored: RagConfig, embedder: Embedder, documents: Path, rag: Rag
) -> None:
    for number in range(40):
        (documents / f"new-{number}.txt").write_text(
            f"Document {number}. " + f"A sentence about topic {number}. " * 60
        )
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "quantserve.rag",
            "index",
            str(documents),
            "--index-dir",
            str(stored.index_dir),
        ],
        cwd=ROOT,
        env={**os.environ, "EMBED_MODEL": str(stored.embedding.model)},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not is_locked(stored):
        assert time.monotonic() < deadline, "indexing never began"
        assert process.poll() is None, "indexing ended before it could be killed"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while is_locked(stored):  # a server takes a moment to see that its client is gone
        assert time.monotonic() < deadline, "a dead writer's lock was never freed"
        time.sleep(0.05)
    assert Searcher.open(stored).generation.name == indexed.generation
    for number in range(2, 40):
        (documents / f"new-{number}.txt").unlink()
    report = index_paths([documents], stored, load_model=lambda: embedder)
    assert len(report.added) == 2
    assert list(stored.index_dir.glob(".gen-*.staging-*")) == []
