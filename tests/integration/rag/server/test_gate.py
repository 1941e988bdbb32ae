"""Who may ask, and how much at once."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from quantserve.core.http.key_commands import revoke_key
from quantserve.rag.embedding.backend import Embedder
from quantserve.rag.server.config import key_rules
from tests.fakes.openai_server import FakeServer
from tests.integration.rag.server.conftest import Served, made_key, serving, until
from tests.programs import ROOT


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def key(keys_file: Path) -> str:
    return made_key(keys_file, "alice")


@pytest.fixture(scope="module")
def locked(
    small_index: Path,
    tmp_path_factory: pytest.TempPathFactory,
    embedder: Embedder,
    model: FakeServer,
    keys_file: Path,
    key: str,
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("locked")
    shutil.copytree(small_index / "index", folder / "index", symlinks=True)
    with serving(folder, embedder, model.base_url, keys_file=keys_file) as running:
        yield running


PROTECTED = [
    ("POST", "/v1/chat/completions"),
    ("GET", "/v1/models"),
    ("GET", "/documents"),
    ("POST", "/documents"),
    ("DELETE", "/documents/0"),
    ("GET", "/documents/0/file"),
    ("POST", "/documents/0/ticket"),
    ("GET", "/documents/jobs/0"),
    ("POST", "/search"),
    ("GET", "/passages/0"),
    ("GET", "/status"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/nothing"),
]


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer rag-00000000-wrong", "Basic rag", "{key}x"])
def test_nothing_is_answered_without_the_right_key(locked: Served, key: str, given: str) -> None:
    headers = {"Authorization": given.format(key=f"Bearer {key}")}
    with locked.http() as http:
        for method, path in PROTECTED:
            reply = http.request(method, path, headers=headers)
            assert reply.status_code == 401, path
            assert reply.json()["error"]["type"] == "authentication_error"
            assert reply.headers["www-authenticate"] == "Bearer"


def test_every_route_but_health_and_the_page_is_in_that_list(locked: Served, key: str) -> None:
    with locked.http(key) as http:
        paths = http.get("/openapi.json").json()["paths"]
    routes = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    shape = {(method, path.replace("/0", "/{identity}")) for method, path in PROTECTED}
    assert routes - shape == {
        ("GET", "/"),
        ("GET", "/favicon.ico"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/v1/models/{name}"),
    }


def test_health_and_the_page_need_no_key(locked: Served) -> None:
    with locked.http() as http:
        for path in ("/healthz", "/readyz", "/", "/static/main.js", "/favicon.ico"):
            assert http.get(path).status_code == 200, path


def test_a_key_opens_until_it_is_revoked_and_is_stored_hashed(locked: Served, keys_file: Path) -> None:
    secret = made_key(keys_file, "bob")
    assert secret not in keys_file.read_text(encoding="utf-8")
    with locked.http(secret) as http:
        until(lambda: http.get("/v1/models").status_code == 200)
        revoke_key(keys_file, key_rules(), "bob")
        until(lambda: http.get("/v1/models").status_code == 401)


def test_a_ticket_opens_one_file_without_the_key(locked: Served, key: str) -> None:
    with locked.http(key) as http:
        first, second = (entry["id"] for entry in http.get("/documents").json()["data"])
        address = http.post(f"/documents/{first}/ticket").json()["url"]
    with locked.http() as http:
        assert http.get(address).status_code == 200
        assert http.get(address.replace(first, second)).status_code == 401
        assert http.get(address.replace("/file", "")).status_code == 401


def test_the_openai_client_uses_its_key(locked: Served, key: str) -> None:
    assert locked.client(key).models.list().data[0].id == "quantserve-rag"


def test_a_request_id_comes_back_and_a_strange_one_does_not(served: Served) -> None:
    with served.http() as http:
        given = http.get("/healthz", headers={"x-request-id": "abc-1"})
        strange = http.get("/healthz", headers={"x-request-id": "a b<c>"})
    assert given.headers["x-request-id"] == "abc-1"
    assert len(strange.headers["x-request-id"]) == 32


def test_a_large_body_is_refused_whether_or_not_it_says_so(served: Served) -> None:
    body = b'{"query": "' + b"a" * (1 << 20) + b'"}'
    with served.http() as http:
        told = http.post("/search", content=body)
        chunked = http.post("/search", content=iter([body[:600_000], body[600_000:]]))
    assert [told.status_code, chunked.status_code] == [413, 413]
    assert told.json()["error"]["code"] == "body_too_large"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"origin": "http://evil.example"}, "foreign_origin"),
        ({"host": "evil.example"}, "foreign_host"),
        ({"origin": "null"}, "foreign_origin"),
    ],
)
def test_without_keys_other_sites_pages_may_not_ask(
    served: Served, headers: dict[str, str], code: str
) -> None:
    with served.http() as http:
        reply = http.get("/documents", headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, code)


@pytest.mark.parametrize("foreign", ["Host: evil.example", "Origin: http://evil.example"])
def test_of_two_headers_each_must_be_ours(served: Served, foreign: str) -> None:
    url = urlsplit(served.url)
    ours = f"Host: {url.netloc}\r\nOrigin: http://{url.netloc}"
    with socket.create_connection((url.hostname, url.port)) as client:
        client.sendall(f"GET /documents HTTP/1.1\r\n{ours}\r\n{foreign}\r\n\r\n".encode())
        assert client.recv(12) == b"HTTP/1.1 403"


def test_errors_of_routing_have_the_same_shape(served: Served) -> None:
    with served.http() as http:
        missing, wrong = http.get("/nothing"), http.get("/search")
        no_json = http.post("/search", content=b"{", headers={"content-type": "application/json"})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert (no_json.status_code, no_json.json()["error"]["code"]) == (400, "invalid_json")


def test_the_page_runs_nothing_but_its_own_files(served: Served) -> None:
    with served.http() as http:
        policy = http.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy


def test_it_does_not_listen_to_other_machines_without_keys(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "quantserve.rag",
        "serve",
        "--host",
        "0.0.0.0",
        "--port",
        "0",
        "--no-log",
    ]
    done = subprocess.run(
        [*command, "--index-dir", str(tmp_path), "--embedding-model", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "refusing to listen on 0.0.0.0 without keys" in done.stderr
    assert "quantserve rag keys create NAME" in done.stderr
