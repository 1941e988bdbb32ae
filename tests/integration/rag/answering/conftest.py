"""The real embedding model and index, made once for all files; a fake OpenAI server on a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from quantserve.rag.config import EmbeddingConfig, RagConfig
from quantserve.rag.embedding.backend import Embedder
from quantserve.rag.ingest import index_paths
from quantserve.rag.retrieve import Searcher
from quantserve.rag.store.generation import IndexStore
from tests.fakes.openai_server import Behaviour, FakeServer
from tests.integration.rag.answering.bench import CELLAR, DOCUMENTS, Bench


@pytest.fixture(scope="session")
def searcher(tmp_path_factory: pytest.TempPathFactory, embedding_model: Path, embedder: Embedder) -> Searcher:
    folder = tmp_path_factory.mktemp("documents")
    for name, text in DOCUMENTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    config = RagConfig(
        index_dir=folder / "index", embedding=EmbeddingConfig(model=embedding_model, backend="onnx")
    )
    index_paths([folder], config, load_model=lambda: embedder)
    return Searcher(IndexStore(config.index_dir).open(), config, load_model=lambda: embedder)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(Behaviour(model="Qwen-test", answer=CELLAR)) as running:
        yield running


@pytest.fixture
def bench(searcher: Searcher, server: FakeServer, tmp_path: Path) -> Bench:
    return Bench(searcher, server, tmp_path / "answers.db")
