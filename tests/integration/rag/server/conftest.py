"""A real server on a socket, over a small real index and a fake model server."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
import uvicorn
from openai import OpenAI

from quantserve.core.http.key_commands import create_key
from quantserve.rag.config import EmbeddingConfig, RagConfig
from quantserve.rag.embedding.backend import Embedder
from quantserve.rag.ingest import index_paths
from quantserve.rag.server.config import Bounds, LogConfig, ServerConfig, key_rules
from quantserve.rag.server.run import uvicorn_config
from quantserve.rag.server.service import Service
from quantserve.rag.store.base import LOCAL
from tests.fakes.openai_server import Behaviour, FakeServer
from tests.integration.rag.conftest import MODEL, write_pdf

DEADLINE_S = 300.0
HOSTILE = 'Safe <img src=x onerror="window.hacked=1"> <script>window.hacked=1</script> is **bold**'
EMBEDDING = EmbeddingConfig(model=MODEL, backend="onnx")


@dataclass
class Served:
    """A running server."""

    url: str
    service: Service
    folder: Path
    log: Path

    def client(self, key: str = "none") -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=DEADLINE_S)

    def http(self, key: str = "") -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=DEADLINE_S)


def made_key(file: Path, name: str) -> str:
    """Make a key as `rag keys create` does."""
    return create_key(file, key_rules(), name)[1]


def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that is about to be; a deadline only ends a hung test."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def small_index(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Path:
    """A folder with documents and their index; copied, never changed."""
    folder = tmp_path_factory.mktemp("small")
    documents = folder / "documents"
    documents.mkdir()
    (documents / "휴가.md").write_text(
        "# 휴가 규정\n\n## 연차\n\n입사 3년 차 직원은 한 해에 17일의 연차를 쓴다.\n\n"
        "## 경조 휴가\n\n조부모가 돌아가시면 사흘을 쉰다. 신청은 인사팀에 한다.\n",
        encoding="utf-8",
    )
    write_pdf(
        documents / "lighthouse.pdf",
        [
            f"The keeper lights the lamp at sunset and writes the time into the log. {HOSTILE}.",
            "In fog the horn sounds twice a minute. Spare bulbs are kept in the cellar.",
        ],
    )
    config = RagConfig(index_dir=folder / "index", embedding=EMBEDDING)
    index_paths([documents], config, load_model=lambda: embedder)
    return folder


@contextmanager
def serving(
    folder: Path,
    embedder: Embedder,
    base_url: str,
    bounds: Bounds | None = None,
    keys_file: Path | None = None,
    otlp_endpoint: str = "",
    log_bytes: int = LogConfig().max_bytes,
    *,
    store: str = LOCAL,
    cache: bool = False,
    guard_file: Path | None = None,
) -> Iterator[Served]:
    """Serve the index of `folder` on a spare port; without cache, since tests ask the same again."""
    rag = RagConfig(index_dir=folder / "index", store=store, embedding=EMBEDDING)
    answer = replace(
        rag.answer,
        base_url=base_url,
        connect_timeout_s=2,
        cache=replace(rag.answer.cache, enabled=cache, semantic=cache),
        guard_file=guard_file,
    )
    rag = replace(rag, answer=answer)
    log = folder / "logs" / "rag.jsonl"
    config = ServerConfig(
        upload_dir=folder / "uploads",
        keys_file=keys_file,
        bounds=bounds or Bounds(),
        log=LogConfig(log, max_bytes=log_bytes),
        otlp_endpoint=otlp_endpoint,
        shutdown_s=2,
    )
    service = Service(rag, config, lambda _: embedder)
    taken = socket.create_server(("127.0.0.1", 0), backlog=512)
    server = uvicorn.Server(uvicorn_config(service))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
    thread.start()
    until(lambda: server.started)
    until(lambda: service.is_warm)
    try:
        yield Served(f"http://127.0.0.1:{taken.getsockname()[1]}", service, folder, log)
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        taken.close()


@pytest.fixture(scope="module")
def model() -> Iterator[FakeServer]:
    with FakeServer(Behaviour(model="Qwen-test")) as running:
        yield running


@pytest.fixture
def answering(model: FakeServer) -> FakeServer:
    """The model server as it was at first; what was asked of it is forgotten."""
    model.behaviour = Behaviour(model="Qwen-test", answer="They are kept in the cellar [1].")
    model.requests.clear()
    model.cancelled = 0
    return model


@pytest.fixture(scope="module")
def served(
    small_index: Path, tmp_path_factory: pytest.TempPathFactory, embedder: Embedder, model: FakeServer
) -> Iterator[Served]:
    """One server for the tests of a module, which do not change its documents."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(small_index / "index", folder / "index", symlinks=True)
    with serving(folder, embedder, model.base_url) as running:
        yield running
