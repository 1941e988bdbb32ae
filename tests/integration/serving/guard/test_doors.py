"""Every door of the guard, by every method, with a key and without; and what is told of whom."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from quantserve.core.http.keys import digest, write_keys
from quantserve.serving.guard.internal import FRONT_HEADER, INTERNAL_PREFIX
from quantserve.serving.guard.metrics import serve_metrics
from quantserve.serving.guard.middleware import Guard
from quantserve.serving.guard.paths import ALLOWED, PathTable
from quantserve.serving.guard.settings import GuardSettings
from tests.integration.serving.guard.app import METHODS, lines_of, wait_until
from tests.integration.serving.guard.test_guard import Start, key, start

__all__ = ["start"]
PATHS = [
    *ALLOWED,
    "/v1/models/m",
    "/v1/models/org/m",
    "/docs",
    "/openapi.json",
    "/invocations",
    "/v1/responses/r1",
]
PREFLIGHT = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}


class Behind:
    """An app that answers everything, and remembers what reached it."""

    def __init__(self) -> None:
        self.reached: list[tuple[str, str]] = []
        self.headers: set[bytes] = set()
        """Names of the headers of the last request."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.reached.append((scope["method"], scope["path"]))
        self.headers = {name for name, _ in scope["headers"]}
        listed = {"object": "list", "data": [{"id": "m"}, {"id": "org/m"}]}
        body = json.dumps(listed).encode()
        head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def behind_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Behind, Guard, str]]:
    folder = tmp_path_factory.mktemp("keys")
    entry, secret = key()
    write_keys(folder / "k", (entry,))
    behind = Behind()
    settings = {"keys_file": str(folder / "k"), "metrics_open": False, "artifact": {"name": "m"}}
    guard = Guard(behind, GuardSettings.model_validate(settings))
    yield behind, guard, secret
    guard.close()


def call(app: Any, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            prompt = b'"input"' if path == "/v1/responses" else b'"prompt"'
            body = b'{"model":"m",%b:"x","messages":[{"role":"user","content":"x"}]}' % prompt
            kind = {"Content-Type": "application/json"} if method in ("POST", "PUT", "PATCH") else {}
            return await client.request(
                method, path, headers={**kind, **headers}, content=body if kind else None
            )

    return anyio.run(ask)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("extra", [{}, PREFLIGHT], ids=["plain", "preflight"])
def test_without_a_key_nothing_but_health_reaches_the_engine(
    behind_keys: tuple[Behind, Guard, str], method: str, path: str, extra: dict[str, str]
) -> None:
    behind, guard, _ = behind_keys
    behind.reached.clear()
    answer = call(guard, method, path, extra)
    if path == "/health" and method in ("GET", "HEAD"):
        assert (answer.status_code, behind.reached) == (200, [("GET", "/health")])
        return
    assert behind.reached == []
    known = path in ALLOWED or path.startswith("/v1/models/")
    if method == "OPTIONS" and known:
        assert (answer.status_code, answer.content) == (204, b"")
        assert method in answer.headers["allow"]
    else:
        assert answer.status_code in ((401, 405) if known else (404,))
        assert method == "HEAD" or "error" in answer.json()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", PATHS)
def test_with_a_key_a_path_answers_its_own_methods_and_no_others(
    behind_keys: tuple[Behind, Guard, str], method: str, path: str
) -> None:
    behind, guard, secret = behind_keys
    behind.reached.clear()
    answer = call(guard, method, path, {"Authorization": f"Bearer {secret}"})
    methods = ALLOWED.get(path) or (ALLOWED["/v1/models"] if path.startswith("/v1/models/") else {})
    asked = "GET" if method == "HEAD" else method
    if method == "OPTIONS" or asked not in methods:
        assert behind.reached == []
        assert answer.status_code == (404 if not methods else 204 if method == "OPTIONS" else 405)
        return
    offered = "generate" in methods[asked].tasks and methods[asked].body != "upload"
    assert answer.status_code == (200 if offered else 404)
    assert bool(behind.reached) is offered
    assert all(reached[0] == asked for reached in behind.reached)
    if method == "HEAD":
        assert answer.content == b""
        assert int(answer.headers["content-length"]) > 0


def test_one_model_is_found_by_its_name_or_is_openais_404(behind_keys: tuple[Behind, Guard, str]) -> None:
    _, guard, secret = behind_keys
    mine = {"Authorization": f"Bearer {secret}"}
    assert call(guard, "GET", "/v1/models/org/m", mine).json() == {"id": "org/m"}
    missing = call(guard, "GET", "/v1/models/other", mine)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


def test_anthropics_header_carries_the_key(behind_keys: tuple[Behind, Guard, str]) -> None:
    _, guard, secret = behind_keys
    assert call(guard, "POST", "/v1/messages", {"x-api-key": secret}).status_code == 200
    refused = call(guard, "POST", "/v1/messages", {"x-api-key": secret + "x"})
    assert (refused.status_code, refused.json()["type"]) == (401, "error")


SLOW_FORM = b'name="model"\r\n' * 37_450  # half a MiB
FORM = "multipart/form-data; boundary=xx"


@pytest.mark.parametrize(
    ("task", "kind", "status", "code"),
    [
        ("generate", FORM, 404, "wrong_task"),
        ("generate", "text/plain", 404, "wrong_task"),
        ("transcribe", "text/plain", 415, "wrong_content_type"),
        ("transcribe", FORM, 400, "invalid_value"),
    ],
)
def test_upload_is_refused_by_task_then_by_type_then_by_its_form(
    start: Start, task: str, kind: str, status: int, code: str
) -> None:
    server = start(task=task)
    answer = server.client.post("/v1/audio/transcriptions", content=SLOW_FORM, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_task_is_told_before_the_body_comes(start: Start) -> None:
    server = start()
    head = "POST /v1/embeddings HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 999999\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head.encode())
        answer = connection.recv(65536).decode()
    assert answer.startswith("HTTP/1.1 404")
    assert "wants a model that makes embeddings; this server's model generates text" in answer


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", FORM])
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/audio/transcriptions", "/v1/messages"])
def test_other_sites_pages_cannot_send_what_needs_no_preflight(start: Start, kind: str, path: str) -> None:
    server = start()
    headers = {"Origin": "https://evil.example", "Content-Type": kind}
    answer = server.client.post(path, content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "foreign_origin")
    assert server.engine.seen == []


def test_without_keys_only_this_machines_names_and_pages_are_answered(start: Start) -> None:
    server = start(allowed_origins=["http://localhost:3000"])
    own = f"http://127.0.0.1:{server.port}"
    for headers, status in (
        ({"Host": "evil.example"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": own}, 200),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Host": f"localhost:{server.port}"}, 200),
    ):
        for path in ("/v1/models", "/metrics", "/health"):
            assert server.client.get(path, headers=headers).status_code == status, (path, headers)
    answer = server.client.get("/v1/models", headers={"Origin": "http://localhost:3000"})
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "access-control-allow-origin" not in server.client.get("/v1/models").headers


def test_open_metrics_are_for_this_machines_names_although_keys_are_asked_for(
    start: Start, tmp_path: Path
) -> None:
    write_keys(tmp_path / "k", ())
    server = start(keys_file=str(tmp_path / "k"))
    assert server.client.get("/metrics").text == "figures"
    assert server.client.get("/metrics", headers={"Host": "evil.example"}).status_code == 403
    assert server.client.get("/health", headers={"Host": "pod.example"}).status_code == 200


def test_address_of_a_client_is_believed_from_the_front_alone(start: Start, tmp_path: Path) -> None:
    internal = INTERNAL_PREFIX + "secret"
    audit = tmp_path / "audit"
    server = start(internal_key_sha256=digest(internal), audit={"file": str(audit)})
    told = {"X-Forwarded-For": "9.9.9.9"}
    for headers in (told, {**told, FRONT_HEADER: "qs-internal-guess"}, {**told, FRONT_HEADER: internal}):
        assert server.client.get("/v1/models", headers=headers).status_code == 200
    wait_until(lambda: len(lines_of(audit)) == 3)
    assert [line["client"] for line in lines_of(audit)] == ["127.0.0.1", "127.0.0.1", "9.9.9.9"]
    page = {"Origin": "http://127.0.0.1:8000"}  # the front's own page, which the front has judged
    assert server.client.get("/v1/models", headers=page).status_code == 403
    assert server.client.get("/v1/models", headers={**page, FRONT_HEADER: internal}).status_code == 200


def test_secrets_in_addresses_do_not_reach_the_audit_log(start: Start, tmp_path: Path) -> None:
    entry, secret = key()
    write_keys(tmp_path / "k", (entry,))
    audit = tmp_path / "audit"
    server = start(keys_file=str(tmp_path / "k"), audit={"file": str(audit)})
    mine = {"Authorization": f"Bearer {secret}"}
    server.client.get(f"/v1/models?api_key={secret}", headers=mine)
    server.client.get(f"/v1/models/{secret}", headers={**mine, "X-Request-Id": secret})
    server.post(key=secret, model=secret, prompt="x")
    wait_until(lambda: len(lines_of(audit)) == 3)
    assert secret not in audit.read_text()


def test_metrics_port_is_this_machines_alone(unused_port: int) -> None:
    serve_metrics("127.0.0.1", unused_port)
    url = f"http://127.0.0.1:{unused_port}"
    with httpx.Client(trust_env=False) as client:
        assert "quantserve_guard_sequences" in client.get(url).text
        assert client.get(url, headers={"Host": "evil.example"}).status_code == 403
        assert client.options(url).status_code == 405
    with socket.socket() as other, pytest.raises(ConnectionRefusedError):
        other.connect(("127.0.0.2", unused_port))


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def test_early_leaver_is_charged_by_the_engines_count(start: Start, tmp_path: Path) -> None:
    entry, secret = key(tokens_per_minute=200)
    write_keys(tmp_path / "k", (entry,))
    audit = tmp_path / "audit"
    server = start(keys_file=str(tmp_path / "k"), audit={"file": str(audit)})
    body = {"model": "m", "prompt": "wait", "stream": True, "stream_interval": 1000, "max_tokens": 50}
    mine = {"Authorization": f"Bearer {secret}"}
    with server.client.stream("POST", "/v1/completions", json=body, headers=mine) as answer:
        next(answer.iter_lines())
    wait_until(lambda: bool(lines_of(audit)))
    (line,) = lines_of(audit)
    assert (line["status"], line["prompt_tokens"], line["completion_tokens"]) == (499, 7, 3)
    # 190 of 200 are left: enough for 186, not for 196.
    assert server.post(key=secret, prompt=[1] * 180, max_tokens=16).json()["error"]["code"] == "token_limit"
    assert server.post(key=secret, prompt=[1] * 170, max_tokens=16).status_code == 200


def test_answers_to_one_prompt_count_their_prompt_once(start: Start, tmp_path: Path) -> None:
    audit = tmp_path / "audit"
    server = start(audit={"file": str(audit)})
    server.post(prompt="x", n=4)
    wait_until(lambda: bool(lines_of(audit)))
    assert (lines_of(audit)[0]["prompt_tokens"], lines_of(audit)[0]["completion_tokens"]) == (7, 12)


@pytest.mark.parametrize("limit", ["tokens_per_minute", "tokens_per_day"])
def test_requests_at_once_do_not_pass_a_limit_together(start: Start, tmp_path: Path, limit: str) -> None:
    limits: dict[str, Any] = {limit: 10}
    entry, secret = key("alice", **limits)
    write_keys(tmp_path / "k", (entry,))
    server = start(keys_file=str(tmp_path / "k"))
    found: list[int] = []

    def ask() -> None:
        body, mine = {"model": "m", "prompt": "wait"}, {"Authorization": f"Bearer {secret}"}
        found.append(
            httpx.post(f"{server.url}/v1/completions", json=body, headers=mine, timeout=30).status_code
        )

    threads = [threading.Thread(target=ask) for _ in range(24)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(found) == 23)
    server.engine.gate.set()
    for thread in threads:
        thread.join(20)
    assert sorted(found) == [200] + [429] * 23


def test_keys_do_not_share_cached_beginnings(start: Start, tmp_path: Path) -> None:
    (one, first), (two, second) = key("one"), key("two")
    write_keys(tmp_path / "k", (one, two))
    server = start(keys_file=str(tmp_path / "k"))
    for secret, own in ((first, None), (first, None), (second, None), (first, "mine"), (second, "mine")):
        server.post(key=secret, prompt="x", **({"cache_salt": own} if own else {}))
    a, b, c, d, e = server.engine.client.output_processor.salts
    assert a == b
    assert len({a, c, d, e, None, "mine"}) == 6


def test_keys_share_them_where_the_operator_says_so(start: Start, tmp_path: Path) -> None:
    entry, secret = key()
    write_keys(tmp_path / "k", (entry,))
    server = start(keys_file=str(tmp_path / "k"), share_prefix_cache=True)
    server.post(key=secret, prompt="x")
    assert server.engine.client.output_processor.salts == [None]


def test_errors_of_the_engine_come_in_our_words(start: Start) -> None:
    server = start()
    theirs = 'tool_choice="required" requires --tool-call-parser to be set'
    server.engine.refusal = (400, {"error": {"message": theirs, "type": "BadRequestError", "code": 400}})
    answer = server.post(prompt="x").json()["error"]
    assert (answer["type"], answer["code"]) == ("invalid_request_error", "engine_refused")
    assert "tool_parser in the server's profile" in answer["message"]
    shaped = server.post("/v1/messages", messages=[{"role": "user", "content": "x"}]).json()
    assert (shaped["type"], shaped["error"]["type"]) == ("error", "invalid_request_error")
    server.engine.refusal = (500, {"detail": "Internal Server Error"})
    assert server.post(prompt="x").json()["error"]["type"] == "server_error"


def test_front_finds_the_paths_of_every_task() -> None:
    assert PathTable().served() != PathTable(task="embed").served()
    assert "/v1/embeddings" in PathTable(task="embed").served()


def test_no_header_but_the_known_ones_reaches_the_engine(behind_keys: tuple[Behind, Guard, str]) -> None:
    behind, guard, secret = behind_keys
    steering = ("X-Vllm-Priority", "X-Data-Parallel-Rank", "X-Session-Id", "X-Forwarded-For", "Cookie")
    shown = {"Authorization": f"Bearer {secret}", **dict.fromkeys(steering, "9" * 40)}
    assert call(guard, "POST", "/v1/completions", shown).status_code == 200
    assert behind.headers >= {b"host", b"content-type", b"content-length", b"x-request-id"}
    assert not behind.headers & {name.lower().encode() for name in shown}
