"""What is never finished, too large or too much holds up nobody else; every refusal has OpenAI's shape."""

from __future__ import annotations

import json
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quantserve.rag.embedding.backend import Embedder
from quantserve.rag.server.config import Bounds
from tests.fakes.openai_server import FakeServer
from tests.integration.rag.server.conftest import DEADLINE_S, Served, made_key, serving, until

PATIENT = Bounds(body_timeout_s=600, header_timeout_s=600)
"""Nothing runs out of time by itself."""
HASTY = Bounds(body_timeout_s=0.5, header_timeout_s=0.5, upload_least_bytes_s=1 << 20)
QUESTION = {"messages": [{"role": "user", "content": "Where are the spare bulbs kept?"}]}
MULTIPART = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n\r\n'


def one_server(
    small_index: Path, folder: Path, embedder: Embedder, model: FakeServer, bounds: Bounds, **more: Any
) -> Any:
    shutil.copytree(small_index / "index", folder / "index", symlinks=True)
    return serving(folder, embedder, model.base_url, bounds, **more)


@pytest.fixture(scope="module")
def patient(
    small_index: Path, tmp_path_factory: pytest.TempPathFactory, embedder: Embedder, model: FakeServer
) -> Iterator[Served]:
    with one_server(small_index, tmp_path_factory.mktemp("patient"), embedder, model, PATIENT) as running:
        yield running


@pytest.fixture(scope="module")
def hasty(
    small_index: Path, tmp_path_factory: pytest.TempPathFactory, embedder: Embedder, model: FakeServer
) -> Iterator[Served]:
    with one_server(small_index, tmp_path_factory.mktemp("hasty"), embedder, model, HASTY) as running:
        yield running


def connected(served: Served, data: bytes = b"") -> socket.socket:
    host, port = served.url.removeprefix("http://").split(":")
    opened = socket.create_connection((host, int(port)), timeout=DEADLINE_S)
    opened.sendall(data)
    return opened


def head(method: str, path: str, length: int | None, *lines: str) -> bytes:
    sized = [] if length is None else [f"Content-Length: {length}"]
    wanted = [f"{method} {path} HTTP/1.1", "Host: localhost", *sized, *lines, "", ""]
    return "\r\n".join(wanted).encode()


def answer(opened: socket.socket) -> tuple[int, dict[str, Any]]:
    """Read to the end of the connection; return the last status and its JSON."""
    received = b""
    while data := opened.recv(65536):
        received += data
    top, _, body = received.partition(b"\r\n\r\n")
    return int(top.split()[1]), json.loads(body)


def is_answered(served: Served, key: str = "") -> bool:
    with served.http(key) as http:
        return http.post("/v1/chat/completions", json=QUESTION).status_code == 200


SLOW = [
    head("POST", "/v1/chat/completions", 100, "Content-Type: application/json"),
    head("POST", "/search", 100) + b'{"query":',
    head("POST", "/search", None, "Transfer-Encoding: chunked") + b"5\r\n{",
    head("GET", "/documents", 100),
    head("DELETE", "/documents/0", 5),
    head("POST", "/documents/0/ticket", 5),
    head("GET", "/healthz", 5),
]


@pytest.mark.parametrize("unsent", SLOW, ids=lambda data: data.decode().split(" HTTP")[0])
def test_two_hundred_and_fifty_six_unsent_bodies_hold_up_nobody(
    patient: Served, answering: FakeServer, unsent: bytes
) -> None:
    with ExitStack() as stack:
        for _ in range(256):
            stack.enter_context(connected(patient, unsent))
        assert is_answered(patient)
        assert patient.service.room.taken == 0


def test_more_unsent_bodies_than_may_wait_cost_the_oldest(patient: Served, answering: FakeServer) -> None:
    with ExitStack() as stack:
        opened = [stack.enter_context(connected(patient, SLOW[0])) for _ in range(257)]
        status, body = answer(opened[0])
        assert (status, body["error"]["code"], body["error"]["type"]) == (
            408,
            "body_timeout",
            "invalid_request_error",
        )
        assert is_answered(patient)


@pytest.mark.parametrize("unsent", SLOW, ids=lambda data: data.decode().split(" HTTP")[0])
def test_a_body_that_does_not_come_in_time_gets_408(hasty: Served, unsent: bytes) -> None:
    with connected(hasty, unsent) as opened:
        status, body = answer(opened)
    assert (status, body["error"]["code"]) == (408, "body_timeout")


def test_an_upload_that_stops_gets_408_and_leaves_nothing(hasty: Served) -> None:
    form = "Content-Type: multipart/form-data; boundary=x"
    with connected(hasty, head("POST", "/documents", 10_000, form) + MULTIPART + b"half") as opened:
        status, body = answer(opened)
    assert (status, body["error"]["code"]) == (408, "body_timeout")
    assert list((hasty.folder / "uploads").iterdir()) == []


def test_an_upload_that_trickles_gets_408(hasty: Served) -> None:
    form = "Content-Type: multipart/form-data; boundary=x"
    with connected(hasty, head("POST", "/documents", 10_000_000, form) + MULTIPART) as opened:
        opened.settimeout(0.1)
        received = b""
        for _ in range(600):  # each byte in time, all of them too slow
            opened.sendall(b"a")
            try:
                received = opened.recv(65536)
                break
            except TimeoutError:
                continue
    assert received.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", 408, "header_timeout"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * (1 << 17), 431, "headers_too_large"),
        (b"no http at all\r\n\r\n", 400, "invalid_http"),
    ],
)
def test_headers_have_a_time_and_a_size(hasty: Served, sent: bytes, status: int, code: str) -> None:
    with connected(hasty, sent) as opened:
        found, body = answer(opened)
    assert (found, body["error"]["code"]) == (status, code)


def test_a_connection_that_says_nothing_is_closed(hasty: Served) -> None:
    with connected(hasty) as opened:
        assert opened.recv(1) == b""
    until(lambda: hasty.service.connections.open == 0)


def test_a_kept_connection_has_its_time_for_each_request(hasty: Served) -> None:
    with connected(hasty) as opened:
        for _ in range(3):
            opened.sendall(head("GET", "/healthz", None))
            assert opened.recv(65536).startswith(b"HTTP/1.1 200 ")
        opened.sendall(b"GET /healthz HTTP/1.1\r\n")
        status, body = answer(opened)
    assert (status, body["error"]["code"]) == (408, "header_timeout")


def test_more_connections_than_there_may_be_cost_the_oldest_idle_one(
    small_index: Path, tmp_path: Path, embedder: Embedder, answering: FakeServer
) -> None:
    bounds = replace(PATIENT, max_connections=8)
    with one_server(small_index, tmp_path, embedder, answering, bounds) as narrow, ExitStack() as stack:
        opened = [stack.enter_context(connected(narrow, b"GET")) for _ in range(9)]
        assert opened[0].recv(1) == b""
        assert is_answered(narrow)
        assert narrow.service.connections.open <= 8


def test_a_body_that_is_too_large_is_told_so_while_it_comes(patient: Served) -> None:
    data = b"a" * (3 << 20)
    with connected(patient, head("POST", "/search", len(data))) as opened:
        opened.sendall(data[: 1 << 20])
        status, body = answer(opened)
    assert (status, body["error"]["code"]) == (413, "body_too_large")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    return file, made_key(file, "alice"), made_key(file, "bob")


def test_one_key_cannot_take_all_places(
    small_index: Path, tmp_path: Path, embedder: Embedder, answering: FakeServer, keys: tuple[Path, str, str]
) -> None:
    file, alice, bob = keys
    bounds = replace(PATIENT, max_requests=8, max_requests_per_key=2, max_uploads_per_key=1, max_threads=4)
    answering.change(answer="word " * 400, inter_token_s=0.05)
    with one_server(small_index, tmp_path, embedder, answering, bounds, keys_file=file) as shared:
        with ExitStack() as stack:
            streams = [
                shared.client(alice).chat.completions.create(
                    model="quantserve-rag", messages=QUESTION["messages"], stream=True
                )
                for _ in range(2)
            ]
            for stream in streams:
                stack.callback(stream.close)
                next(iter(stream))
            with shared.http(alice) as http:
                refused = http.post("/search", json={"query": "연차"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_requests")
            assert "of this key" in refused.json()["error"]["message"]
            assert int(refused.headers["retry-after"]) > 0
            with shared.http(bob) as http:
                assert http.post("/search", json={"query": "연차"}).status_code == 200
        form = "Content-Type: multipart/form-data; boundary=x"
        half = head("POST", "/documents", 10_000, form, f"Authorization: Bearer {alice}") + MULTIPART
        with connected(shared, half):
            until(lambda: shared.service.uploads.taken == 1)
            files = {"file": ("b.txt", b"The horn sounds twice.")}
            with shared.http(alice) as http:
                refused = http.post("/documents", files=files)
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_uploads")
            with shared.http(bob) as http:
                assert http.post("/documents", files=files).status_code == 202
        until(lambda: shared.service.uploads.taken == 0)


def test_whatever_can_be_got_has_a_head(patient: Served) -> None:
    with patient.http() as http:
        for path in ("/", "/healthz", "/readyz", "/v1/models", "/documents", "/metrics", "/static/main.js"):
            got, headed = http.get(path), http.head(path)
            assert (headed.status_code, headed.content) == (got.status_code, b""), path
            assert headed.headers["content-type"] == got.headers["content-type"]
        assert http.head("/search").status_code == 405
        assert http.head("/nothing").status_code == 404


def test_an_upload_names_what_is_not_read_and_keeps_the_rest_private(patient: Served) -> None:
    files = [
        ("file", ("a.txt", b"Foxes live in dens.")),
        ("file", ("b.epub", b"PK")),
        ("file", ("c.hwp", b"x")),
    ]
    with patient.http() as http:
        job = http.post("/documents", files=files).json()
        assert job["skipped"] == {"b.epub": "EPUB e-book", "c.hwp": "HWP document"}
        only = http.post("/documents", files=files[1:])
    assert (only.status_code, only.json()["error"]["code"]) == (415, "unsupported_kind")
    assert "b.epub (EPUB e-book), c.hwp (HWP document)" in only.json()["error"]["message"]
    uploads = patient.folder / "uploads"
    assert [path.name for path in uploads.iterdir()] == ["a.txt"]
    assert stat.S_IMODE((uploads / "a.txt").stat().st_mode) == 0o600
    assert stat.S_IMODE(uploads.stat().st_mode) == 0o700
