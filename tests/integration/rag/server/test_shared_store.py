"""The same server on the shared store: what another machine publishes is answered from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from quantserve.rag.config import RagConfig
from quantserve.rag.embedding.backend import Embedder
from quantserve.rag.ingest import index_paths, remove_documents
from quantserve.rag.store.base import open_store
from tests.fakes.openai_server import FakeServer
from tests.integration.rag.server.conftest import EMBEDDING, serving
from tests.integration.rag.server.test_documents import best, finished, names, upload


def test_uploads_other_machines_and_the_last_delete(
    database: str, tmp_path: Path, embedder: Embedder, model: FakeServer
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "sea.md").write_text("The sea is wide.", encoding="utf-8")
    config = RagConfig(index_dir=tmp_path / "none", store=database, embedding=EMBEDDING)
    with serving(tmp_path, embedder, model.base_url, store=database) as shared:
        assert upload(shared, ("sky.md", b"The sky is blue."))["state"] == "done"
        found = best(shared, "What colour is the sky?")
        assert found["file"] == "sky.md"
        with shared.http() as http:
            assert http.get(found["url"]).json()["text"] == "The sky is blue."

        index_paths([elsewhere], config, load_model=lambda: embedder)
        assert best(shared, "How wide is the sea?")["file"] == "sea.md"

        with shared.http() as http:
            for entry in names(shared).values():
                finished(shared, http.delete(f"/documents/{entry['id']}").json())
        assert names(shared) == {}
        assert open_store(config).current() is None
        assert upload(shared, ("air.md", b"The air is cold."))["state"] == "done"
        assert best(shared, "What is cold?")["file"] == "air.md"
    assert not (tmp_path / "index" / "current").exists()


def test_a_question_whose_generation_is_gone_is_asked_again_of_the_newest(
    database: str, tmp_path: Path, embedder: Embedder, model: FakeServer
) -> None:
    (tmp_path / "a.md").write_text("The sky is blue.", encoding="utf-8")
    (tmp_path / "b.md").write_text("The sea is wide.", encoding="utf-8")
    config = RagConfig(index_dir=tmp_path / "none", store=database, embedding=EMBEDDING)
    index_paths([tmp_path / "a.md", tmp_path / "b.md"], config, load_model=lambda: embedder)
    with serving(tmp_path, embedder, model.base_url, store=database) as shared:
        engine = shared.service.engine
        behind = engine.searcher()
        options = replace(config.retrieve, top_k=1)
        searched: list[str] = []

        def search_late() -> str:
            """Search with a searcher that falls two generations behind before it is used."""

            def work(searcher: object) -> str:
                if searcher is behind:
                    remove_documents(["b.md"], config, load_model=lambda: embedder)
                    index_paths([tmp_path / "b.md"], config, load_model=lambda: embedder)
                    searched.append("behind")
                    return behind.find("sea", options).passages[0].chunk.text
                searched.append("newest")
                return engine.search("sea", options).passages[0].chunk.text

            return engine.with_searcher(work)

        assert search_late() == "The sea is wide."
        assert searched == ["behind"]  # the searcher itself goes on with the newest
