"""Documents come and go while questions are answered."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from quantserve.rag.embedding.backend import Embedder
from quantserve.rag.server.config import Bounds
from quantserve.rag.store.generation import IndexStore
from tests.fakes.openai_server import FakeServer
from tests.integration.rag.server.conftest import Served, serving, until

SMALL = Bounds(max_upload_bytes=100_000, max_files=3)
ASK: Any = [{"role": "user", "content": "등대 관리인의 이름은 무엇인가요?"}]


@pytest.fixture(scope="module")
def open_server(
    small_index: Path, tmp_path_factory: pytest.TempPathFactory, embedder: Embedder, model: FakeServer
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("documents")
    shutil.copytree(small_index / "index", folder / "index", symlinks=True)
    with serving(folder, embedder, model.base_url, SMALL) as running:
        yield running


def finished(served: Served, job: dict[str, Any]) -> dict[str, Any]:
    """Poll a job to its end."""
    with served.http() as http:
        until(lambda: http.get(job["url"]).json()["state"] in ("done", "failed"))
        found: dict[str, Any] = http.get(job["url"]).json()
        return found


def upload(served: Served, *files: tuple[str, bytes]) -> dict[str, Any]:
    with served.http() as http:
        reply = http.post("/documents", files=[("file", file) for file in files])
    assert reply.status_code == 202, reply.text
    return finished(served, reply.json())


def names(served: Served) -> dict[str, dict[str, Any]]:
    with served.http() as http:
        return {entry["name"]: entry for entry in http.get("/documents").json()["data"]}


def best(served: Served, query: str) -> dict[str, Any]:
    with served.http() as http:
        found: dict[str, Any] = http.post("/search", json={"query": query, "top_k": 1}).json()["data"][0]
        return found


def test_an_upload_is_found_replaced_and_deleted_while_the_server_answers(open_server: Served) -> None:
    generation = open_server.service.engine.searcher().generation.name
    job = upload(open_server, ("../../관리인.md", "등대 관리인의 이름은 박하늘이다.".encode()))
    assert (job["state"], job["names"], job["problem"]) == ("done", ["관리인.md"], "")
    assert [path.name for path in (open_server.folder / "uploads").iterdir()] == ["관리인.md"]
    assert not (open_server.folder.parent / "관리인.md").exists()
    found = best(open_server, "등대 관리인의 이름")
    assert (found["file"], found["text"]) == ("관리인.md", "등대 관리인의 이름은 박하늘이다.")
    assert open_server.service.engine.searcher().generation.name != generation

    job = upload(open_server, ("관리인.md", "등대 관리인의 이름은 이바다이다.".encode()))
    assert best(open_server, "등대 관리인의 이름")["text"] == "등대 관리인의 이름은 이바다이다."
    listed = names(open_server)
    assert set(listed) == {"관리인.md", "휴가.md", "lighthouse.pdf"}
    assert listed["관리인.md"]["origin"] == "upload"
    assert listed["lighthouse.pdf"]["origin"] == "file"

    with open_server.http() as http:
        original = http.get(f"/documents/{listed['lighthouse.pdf']['id']}/file")
        assert original.headers["content-type"] == "application/pdf"
        assert original.content.startswith(b"%PDF")
        reply = http.delete(f"/documents/{listed['관리인.md']['id']}")
        assert finished(open_server, reply.json())["state"] == "done"
        assert http.get(f"/passages/{found['id']}").json()["error"]["code"] == "no_passage"
    assert set(names(open_server)) == {"휴가.md", "lighthouse.pdf"}
    assert not (open_server.folder / "uploads" / "관리인.md").exists()


def test_a_citation_opens_the_passage_in_its_page(open_server: Served) -> None:
    found = best(open_server, "spare bulbs")
    with open_server.http() as http:
        passage = http.get(found["url"]).json()
    assert (passage["file"], passage["page"]) == ("lighthouse.pdf", 2)
    assert passage["before"] + passage["text"] + passage["after"] == (
        "The lighthouse handbook\nIn fog the horn sounds twice a minute. Spare bulbs are kept in the cellar."
    )


def test_a_job_waits_for_another_writer_and_questions_do_not(open_server: Served) -> None:
    with open_server.http() as http:
        with IndexStore(open_server.folder / "index").writer_lock():
            job = http.post("/documents", files={"file": ("나중.txt", "나중에 올린 글이다.".encode())}).json()
            until(lambda: http.get(job["url"]).json()["stage"] == "waiting")
            assert best(open_server, "연차는 며칠")["file"] == "휴가.md"
        assert finished(open_server, job)["state"] == "done"
        assert "나중.txt" in names(open_server)


def test_a_file_that_cannot_be_read_is_listed_with_its_problem(open_server: Served) -> None:
    job = upload(open_server, ("broken.pdf", b"%PDF-1.7 nothing"), ("good.txt", b"Foxes live in dens."))
    assert job["state"] == "done"
    assert list(job["problems"]) == ["broken.pdf"]
    assert "is not a readable PDF" in names(open_server)["broken.pdf"]["problem"]
    assert best(open_server, "Where do foxes live?")["file"] == "good.txt"


@pytest.mark.parametrize(
    ("files", "status", "code"),
    [
        ([("big.txt", b"a" * 100_001)], 413, "file_too_large"),
        ([("program.exe", b"MZ")], 415, "unsupported_kind"),
        ([("..", b"a")], 400, "invalid_name"),
        ([(f"{n}.txt", b"a") for n in range(4)], 413, "too_many_files"),
    ],
)
def test_a_refused_upload_leaves_nothing(
    open_server: Served, files: list[tuple[str, bytes]], status: int, code: str
) -> None:
    folder = open_server.folder / "uploads"
    folder.mkdir(exist_ok=True)
    before = sorted(folder.iterdir())
    with open_server.http() as http:
        reply = http.post("/documents", files=[("file", file) for file in files])
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (b"{}", "application/json", "not_multipart"),
        (b"--x\r\nnonsense", "multipart/form-data; boundary=x", "invalid_multipart"),
        (b"--x--\r\n", f"multipart/form-data; boundary={'x' * 5000}", "invalid_multipart"),
        (
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
            "unexpected_field",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="f"; filename="cut.txt"\r\n\r\nhalf',
            "multipart/form-data; boundary=x",
            "invalid_multipart",
        ),
    ],
)
def test_an_upload_that_is_none_is_refused(open_server: Served, body: bytes, kind: str, code: str) -> None:
    with open_server.http() as http:
        reply = http.post("/documents", content=body, headers={"content-type": kind})
    assert reply.json()["error"]["code"] == code
    assert not list((open_server.folder / "uploads").glob(".upload-*"))


def test_an_empty_server_fills_and_empties(tmp_path: Path, embedder: Embedder, model: FakeServer) -> None:
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / ".upload-half").write_bytes(b"left by a killed server")
    with serving(tmp_path, embedder, model.base_url) as empty:
        with pytest.raises(openai.NotFoundError) as nothing:
            empty.client().chat.completions.create(model="quantserve-rag", messages=ASK)
        assert nothing.value.code == "no_index"
        job = upload(empty, ("bad.csv", b""))
        assert job["state"] == "failed"
        assert "bad.csv" in job["problem"]
        assert list((tmp_path / "uploads").iterdir()) == []
        assert upload(empty, ("a.md", "하늘은 파랗다.".encode()))["state"] == "done"
        (entry,) = names(empty).values()
        first = empty.service.engine.searcher().generation.name
        with empty.http() as http:
            finished(empty, http.delete(f"/documents/{entry['id']}").json())
            assert http.get("/documents").json()["data"] == []
        assert upload(empty, ("b.md", "바다는 넓다.".encode()))["state"] == "done"
        assert empty.service.engine.searcher().generation.name > first
        assert best(empty, "하늘은 무슨 색인가")["text"] == "바다는 넓다."
