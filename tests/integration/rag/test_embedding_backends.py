"""Backends beside fp32: int8 made from the same graph, and an embedding server; never mixed in one index."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnx
import pytest

from quantserve.rag.config import EmbeddingConfig, RagConfig
from quantserve.rag.embedding.backend import Embedder, fingerprint, load_embedder
from quantserve.rag.embedding.int8 import int8_graph
from quantserve.rag.embedding.trial import try_backend
from quantserve.rag.errors import IndexMismatch, ServerUnavailable
from quantserve.rag.ingest import index_paths
from quantserve.rag.retrieve import Searcher

TEXTS = [
    "양자화는 가중치를 4비트로 줄인다.",
    "정전이 나면 발전기가 10초 안에 켜진다.",
    "Visitors may climb the tower on Sundays.",
    "The gate compares the candidate with the base model.",
]


@pytest.fixture(scope="module")
def int8(embedding_model: Path) -> Embedder:
    return load_embedder(EmbeddingConfig(model=embedding_model, backend="onnx-int8"))


def test_int8_vectors_are_near_fp32_and_do_not_depend_on_their_neighbours(
    embedder: Embedder, int8: Embedder
) -> None:
    exact, coarse = embedder.embed_passages(TEXTS), int8.embed_passages(TEXTS)
    assert (exact * coarse).sum(axis=1).min() > 0.985
    assert not np.array_equal(exact, coarse)
    assert np.array_equal(coarse[2], int8.embed_passages([TEXTS[2]])[0])
    assert np.allclose(np.linalg.norm(coarse, axis=1), 1.0, atol=1e-5)


def test_the_int8_graph_is_small_since_it_shares_the_word_embeddings(embedding_model: Path) -> None:
    path = int8_graph(embedding_model)
    assert path.stat().st_size < 60_000_000
    graph = onnx.load(path, load_external_data=False).graph
    kinds = {node.op_type for node in graph.node}
    assert {"MatMulInteger", "DynamicQuantizeLinear"} <= kinds or "MatMulIntegerToFloat" in kinds
    outside = {
        entry.value
        for tensor in graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    assert outside == {"model.onnx.data"}
    before = path.stat().st_mtime_ns
    assert int8_graph(embedding_model).stat().st_mtime_ns == before


def test_a_trial_measures_in_a_process_of_its_own(embedding_model: Path, tmp_path: Path) -> None:
    trial = try_backend(embedding_model, "onnx-int8")
    assert trial.failure == ""
    assert trial.passages_per_s > 0
    assert trial.query_ms > 0
    assert np.array(trial.vectors).shape == (3, 384)
    assert "EmbeddingModelError" in try_backend(tmp_path, "onnx").failure


def test_an_index_is_never_asked_or_continued_in_another_precision(
    config: RagConfig, documents: Path, embedder: Embedder, int8: Embedder
) -> None:
    exact = index_paths([documents], config, load_model=lambda: embedder)
    coarse = replace(config, embedding=replace(config.embedding, backend="onnx-int8"))
    auto = replace(config, embedding=replace(config.embedding, backend="auto"))
    with pytest.raises(IndexMismatch, match="onnx-int8"):
        Searcher.open(coarse)
    assert Searcher.open(auto).config.embedding.backend == "onnx"
    assert index_paths([documents], auto).unchanged
    again = index_paths([documents], coarse, load_model=lambda: int8)
    assert (again.embedded, again.chunks) == (exact.chunks, exact.chunks)
    opened = Searcher.open(auto)
    assert opened.config.embedding.backend == "onnx-int8"
    assert opened.search("Where are the spare bulbs?")[0].chunk.page == 2


class EmbeddingServer:
    """/v1/embeddings over HTTP by the real model; `statuses` answer the first requests."""

    def __init__(self, embedder: Embedder) -> None:
        self.batches: list[int] = []
        self.statuses: list[int] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = outer.statuses.pop(0) if outer.statuses else 200
                answer: dict[str, object] = {"error": {"message": "busy"}}
                if status == 200:
                    outer.batches.append(len(body["input"]))
                    vectors = 3.0 * np.vstack([embedder.embed_passages([text]) for text in body["input"]])
                    data = [
                        {"object": "embedding", "index": row, "embedding": vector.tolist()}
                        for row, vector in enumerate(vectors)
                    ]
                    usage = {"prompt_tokens": 1, "total_tokens": 1}
                    answer = {"object": "list", "data": data[::-1], "model": body["model"], "usage": usage}
                payload = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                if status != 200:
                    self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


@pytest.fixture
def served(embedder: Embedder) -> Iterator[EmbeddingServer]:
    running = EmbeddingServer(embedder)
    threading.Thread(target=running.server.serve_forever, daemon=True).start()
    yield running
    running.server.shutdown()
    running.server.server_close()


def remote(served: EmbeddingServer, **changes: object) -> EmbeddingConfig:
    config = EmbeddingConfig(
        model=Path("e5"), backend="openai", base_url=served.url, batch_texts=3, passage_prefix=""
    )
    return replace(config, **changes)  # type: ignore[arg-type]


def test_an_embedding_server_is_asked_in_batches_and_again_after_429_and_503(
    served: EmbeddingServer, embedder: Embedder
) -> None:
    model = load_embedder(remote(served))
    served.batches.clear()
    served.statuses[:] = [429, 503]
    done: list[int] = []
    vectors = model.embed_passages(TEXTS, done.append)
    assert (served.batches, done) == ([3, 1], [3, 1])
    assert np.allclose(vectors, embedder.embed_passages(TEXTS), atol=1e-5)
    assert model.embed_passages([]).shape == (0, 384)


def test_an_index_over_a_server_and_a_question_by_another_model(
    served: EmbeddingServer, config: RagConfig, documents: Path
) -> None:
    far = replace(config, embedding=remote(served))
    index_paths([documents], far)
    assert Searcher.open(far).search("Where are the spare bulbs?")[0].chunk.page == 2
    assert fingerprint(far.embedding) != fingerprint(config.embedding)
    with pytest.raises(IndexMismatch):
        Searcher.open(config)


def test_a_server_that_refuses_or_is_not_there_is_one_clear_line(served: EmbeddingServer) -> None:
    served.statuses[:] = [401]
    with pytest.raises(ServerUnavailable, match="EMBED_API_KEY"):
        load_embedder(remote(served))
    with pytest.raises(ServerUnavailable, match="EMBED_BASE_URL"):
        load_embedder(remote(served, base_url="http://127.0.0.1:9/v1", max_retries=0))
