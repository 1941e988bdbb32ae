"""The guard over real sockets, before an engine that answers at once or when told to."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from prometheus_client import REGISTRY

from quantserve.core.http.key_commands import new_key
from quantserve.core.http.keys import Key, digest, write_keys
from quantserve.serving.guard.internal import INTERNAL_PREFIX
from quantserve.serving.guard.paths import KEY_RULES
from tests.integration.serving.guard.app import GuardedServer, lines_of, wait_until

Start = Callable[..., GuardedServer]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[GuardedServer] = []

    def begin(**settings: Any) -> GuardedServer:
        started.append(GuardedServer(**settings))
        return started[-1]

    yield begin
    for server in started:
        server.close()


@pytest.fixture(scope="module")
def opened() -> Iterator[GuardedServer]:
    """One server without keys for the tests that leave it as it was."""
    server = GuardedServer(limits={"max_body_bytes": 4096, "max_upload_bytes": 8192})
    yield server
    server.close()


def key(name: str = "alice", **fields: Any) -> tuple[Key, str]:
    return new_key(KEY_RULES, name, **fields)


def head(length: str) -> bytes:
    """The head of a request whose body is written by hand."""
    lines = ("POST /v1/completions HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json")
    return "\r\n".join((*lines, f"Content-Length: {length}", "", "")).encode()


def raw_answer(server: GuardedServer, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(request)
        return connection.recv(65536)


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_allowed_paths_answer_and_others_do_not_exist(opened: GuardedServer) -> None:
    assert opened.client.get("/health").text == "fine"
    assert opened.client.get("/v1/models").json()["data"] == [{"id": "m"}]
    answer = opened.client.get("/docs2")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "unknown_path"
    assert opened.client.delete("/v1/models").status_code == 405


def test_openai_client_understands_a_refusal(opened: GuardedServer) -> None:
    client = openai.OpenAI(base_url=f"{opened.url}/v1", api_key="none", max_retries=0)
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="m", prompt="x", n=99)
    assert (caught.value.param, caught.value.code) == ("n", "limit_exceeded")


def test_request_id_comes_back_and_reaches_the_engine(opened: GuardedServer) -> None:
    answer = opened.client.post(
        "/v1/completions", json={"model": "m", "prompt": "x"}, headers={"X-Request-Id": "mine-1"}
    )
    assert answer.headers["x-request-id"] == "mine-1"
    assert opened.engine.request_ids[-1] == "mine-1"
    made = opened.post(prompt="x").headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert opened.engine.request_ids[-1] == made
    assert re.fullmatch("[0-9a-f]{32}", opened.client.get("/none").headers["x-request-id"])


@pytest.mark.parametrize("given", ["a b", "x" * 129, '"><script>', "é"])
def test_odd_request_id_is_replaced_everywhere(opened: GuardedServer, given: str) -> None:
    answer = opened.client.post(
        "/v1/completions",
        json={"model": "m", "prompt": "x"},
        headers={b"X-Request-Id": given.encode("latin-1")},
    )
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
    assert opened.engine.request_ids[-1] == answer.headers["x-request-id"]


def test_stream_passes_event_by_event(opened: GuardedServer) -> None:
    opened.engine.gate.clear()
    body = {"model": "m", "prompt": "wait", "stream": True}
    with opened.client.stream("POST", "/v1/completions", json=body) as answer:
        lines = (line for line in answer.iter_lines() if line)
        assert next(lines) == 'data: {"choices":[{"text":"a"}]}'  # the engine is still waiting
        opened.engine.gate.set()
        assert list(lines)[-1] == "data: [DONE]"


def test_tokens_of_a_stream_are_counted_without_a_word_of_it_changed(opened: GuardedServer) -> None:
    before = count("quantserve_guard_tokens_total", kind="completion")
    answer = opened.post(prompt="x", stream=True)
    assert "stream_options" not in opened.engine.seen[-1]
    assert answer.text.count("data: ") == 4
    wait_until(lambda: count("quantserve_guard_tokens_total", kind="completion") == before + 3)


GAVE_UP = {"message": "Internal server error", "type": "InternalServerError", "param": None, "code": 500}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("path", "body", "ends", "begins"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}, b"data: %b\n\n", "data: "),
        ("/v1/completions", {"prompt": "x"}, b"data: %b\n\n", "data: "),
        ("/v1/completions", {"prompt": "x"}, RuntimeError("broken"), "data: "),
        (
            "/v1/messages",
            {"messages": [{"role": "user", "content": "x"}]},
            b'event: error\ndata: {"type":"error","error":{"message":"2 validation errors"}}\n\n',
            'event: error\ndata: {"type": "error", ',
        ),
        (
            "/v1/responses",
            {"input": "x"},
            RuntimeError("broken"),
            'event: error\ndata: {"type": "error", ',
        ),
    ],
)
def test_stream_that_the_engine_gives_up_ends_with_an_error_in_our_words(
    start: Start, path: str, body: dict[str, Any], ends: Any, begins: str
) -> None:
    server = start()
    error = json.dumps({"error": GAVE_UP}).encode()
    server.engine.stream_ends = ends.replace(b"%b", error) if isinstance(ends, bytes) else ends
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "engine_error"),
        ({"response_format": SCHEMA}, "invalid_value"),
    ]
    for constraint, code in cases:
        answer = server.post(path, stream=True, **body, **constraint)
        *events, last = answer.text.strip().split("\n\n")
        assert len(events) == 3
        assert last.startswith(begins)
        assert json.loads(last.rpartition("data: ")[2])["error"]["code"] == code


def test_client_that_asks_for_usage_gets_it(opened: GuardedServer) -> None:
    answer = opened.post(prompt="x", stream=True, stream_options={"include_usage": True})
    assert '"completion_tokens":3' in answer.text


def test_wrong_content_type_and_long_body_are_refused(opened: GuardedServer) -> None:
    body = b'{"model":"m","prompt":"x"}'
    for kind, status in (("text/plain", 415), ("application/json; charset=utf-8", 200)):
        answer = opened.client.post("/v1/completions", content=body, headers={"Content-Type": kind})
        assert answer.status_code == status
    assert opened.post(prompt="x" * 5000).status_code == 413

    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 1000

    chunked = opened.client.post(
        "/v1/completions", content=pieces(), headers={"Content-Type": "application/json"}
    )
    assert chunked.status_code == 413
    assert opened.post(prompt="x").status_code == 200


@pytest.mark.parametrize("length", ["-1", "99999999999999999999", "1e3", "abc"])
def test_odd_content_length_never_hangs(opened: GuardedServer, length: str) -> None:
    assert raw_answer(opened, head(length)).startswith(b"HTTP/1.1 4")


def test_body_that_never_comes_is_given_up(start: Start) -> None:
    server = start(limits={"body_timeout_s": 0.3})
    assert raw_answer(server, head("10") + b"{").startswith(b"HTTP/1.1 408")


def test_upload_is_passed_whole_and_bounded(start: Start) -> None:
    server = start(limits={"max_upload_bytes": 8192}, task="transcribe")
    answer = server.client.post("/v1/audio/transcriptions", files={"file": b"x" * 3000}, data={"model": "m"})
    assert answer.status_code == 200
    assert int(answer.json()["text"]) > 3000
    answer = server.client.post("/v1/audio/transcriptions", files={"file": b"x" * 9000})
    assert answer.status_code == 413
    assert server.client.post("/v1/audio/transcriptions", content=b"x").status_code == 415


def test_browser_question_needs_no_key_and_never_reaches_the_app(start: Start, tmp_path: Path) -> None:
    write_keys(tmp_path / "k", ())
    server = start(keys_file=str(tmp_path / "k"))
    answer = server.client.options("/v1/completions", headers={"Origin": "https://page.example"})
    assert (answer.status_code, answer.headers["allow"], answer.text) == (204, "POST, OPTIONS", "")
    assert answer.headers["access-control-allow-origin"] == "https://page.example"


def test_keys_are_asked_for_on_every_path_but_health(start: Start, tmp_path: Path) -> None:
    entry, secret = key()
    write_keys(tmp_path / "k", (entry,))
    server = start(keys_file=str(tmp_path / "k"), metrics_open=False)
    assert server.client.get("/health").status_code == 200
    for path in ("/v1/models", "/metrics"):
        refused = server.client.get(path)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert server.client.get(path, headers={"Authorization": f"bearer {secret}"}).status_code == 200
    assert server.post("/tokenize", prompt="x").json()["error"]["code"] == "no_key"
    assert server.post("/tokenize", key=secret[:-1], prompt="x").json()["error"]["code"] == "wrong_key"
    assert server.post("/tokenize", key=secret, prompt="x").status_code == 200
    assert server.client.get("/docs2").status_code == 404


def test_key_made_and_revoked_while_the_server_runs(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "k"
    (first, one), (second, two) = key("one"), key("two")
    write_keys(path, (first,))
    server = start(keys_file=str(path))
    assert server.post(key=one, prompt="x").status_code == 200
    assert server.post(key=two, prompt="x").status_code == 401
    write_keys(path, (second,))
    wait_until(lambda: server.post(key=two, prompt="x").status_code == 200, 5)
    assert server.post(key=one, prompt="x").status_code == 401
    path.write_text("{damaged")
    wait_until(lambda: server.post(key=two, prompt="x") and count("quantserve_guard_keys_unreadable") == 1, 5)
    assert server.post(key=two, prompt="x").status_code == 200


def test_scopes_expiry_and_rates(start: Start, tmp_path: Path) -> None:
    entries = {
        "chat": key("chat", endpoints=("chat",)),
        "other": key("other", models=("other",)),
        "old": key("old", expires=datetime.now(UTC) - timedelta(seconds=1)),
        "slow": key("slow", requests_per_minute=2),
        "few": key("few", tokens_per_minute=15),
    }
    write_keys(tmp_path / "k", tuple(entry for entry, _ in entries.values()))
    server = start(keys_file=str(tmp_path / "k"))

    def ask(name: str, **body: Any) -> tuple[int, str | None]:
        answer = server.post(key=entries[name][1], **{"prompt": "x", **body})
        error = answer.json().get("error") or {}
        return answer.status_code, error.get("code")

    assert ask("chat") == (403, "endpoint_scope")
    assert ask("other") == (403, "model_scope")
    assert ask("other", model="other") == (200, None)
    assert ask("other", model=None) == (403, "model_scope")
    assert ask("old") == (401, "expired_key")
    assert [ask("slow")[0] for _ in range(3)] == [200, 200, 429]
    # Each may take all of fifteen, and takes ten: the second has to wait until fifteen are there again.
    assert [ask("few")[0] for _ in range(2)] == [200, 429]


def test_model_scope_holds_for_uploads(start: Start, tmp_path: Path) -> None:
    entry, secret = key(models=("m",))
    write_keys(tmp_path / "k", (entry,))
    server = start(keys_file=str(tmp_path / "k"), task="transcribe")
    for model, status in (("m", 200), ("secret-model", 403)):
        answer = server.client.post(
            "/v1/audio/transcriptions",
            files={"file": b"x"},
            data={"model": model},
            headers={"Authorization": f"Bearer {secret}"},
        )
        assert answer.status_code == status


def test_full_queue_answers_at_once_and_the_supervisor_still_passes(start: Start) -> None:
    internal = INTERNAL_PREFIX + "secret"
    server = start(limits={"max_requests": 2}, internal_key_sha256=digest(internal))
    before = count("quantserve_guard_queue_refusals_total")
    answers: list[httpx.Response] = []

    def wait() -> None:
        answers.append(httpx.post(f"{server.url}/v1/completions", json={"prompt": "wait"}, timeout=30))

    threads = [threading.Thread(target=wait) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(server.engine.seen) == 2)
    began = time.perf_counter()
    refused = server.post(prompt="x")
    assert time.perf_counter() - began < 1
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.json()["error"]["code"] == "queue_full"
    assert count("quantserve_guard_queue_refusals_total") == before + 1
    assert server.client.get("/v1/models").status_code == 200
    assert server.post(key=internal, prompt="x").status_code == 200
    assert server.post(key=internal + "x", prompt="x").status_code == 401
    server.engine.gate.set()
    for thread in threads:
        thread.join(20)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert server.post(prompt="x").status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_client_that_leaves_frees_its_slot(start: Start, tmp_path: Path, stream: bool) -> None:
    server = start(limits={"max_requests": 1}, audit={"file": str(tmp_path / "audit")})
    body = json.dumps({"model": "m", "prompt": "wait", "stream": stream}).encode()
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(head(str(len(body))) + body)
    wait_until(lambda: len(server.engine.seen) == 1)
    assert server.post(prompt="x").status_code == 429
    connection.close()
    began = time.perf_counter()
    wait_until(lambda: server.post(prompt="x").status_code == 200, 5)
    assert time.perf_counter() - began < 1
    assert server.engine.cancelled == 1
    wait_until(lambda: any(line["status"] == 499 for line in lines_of(tmp_path / "audit")))


def test_client_that_leaves_within_its_body_is_no_error(start: Start, tmp_path: Path) -> None:
    server = start(audit={"file": str(tmp_path / "audit")})
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head("90") + b"{")
    wait_until(lambda: bool(lines_of(tmp_path / "audit")))
    (line,) = lines_of(tmp_path / "audit")
    assert (line["decision"], line["status"]) == ("client_left", 499)


def test_audit_says_who_asked_what_and_never_the_prompt(start: Start, tmp_path: Path) -> None:
    entry, secret = key()
    write_keys(tmp_path / "k", (entry,))
    audit = tmp_path / "audit.jsonl"
    server = start(
        keys_file=str(tmp_path / "k"),
        audit={"file": str(audit)},
        artifact={"name": "m", "version": "v1", "sha256": "abc"},
    )
    server.client.get("/health")
    plain = server.post(key=secret, prompt="my secret question")
    server.post(key=secret, prompt="my secret question", stream=True)
    wait_until(lambda: len(lines_of(audit)) == 2)
    server.post(prompt="my secret question")
    wait_until(lambda: len(lines_of(audit)) == 3)
    assert "secret question" not in audit.read_text()
    assert secret not in audit.read_text()
    # A stream's line is written when its last event has gone, which may be after the next request's.
    first, second, third = sorted(lines_of(audit), key=lambda line: (line["status"], line["stream"]))
    assert first["request_id"] == plain.headers["x-request-id"]
    expected = {
        "key": "alice",
        "endpoint": "completions",
        "decision": "admitted",
        "status": 200,
        "model": "m",
        "version": "v1",
        "manifest_sha256": "abc",
        "stream": False,
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "client": "127.0.0.1",
    }
    assert {name: first[name] for name in expected} == expected
    assert 0 < first["first_byte_s"] <= first["seconds"] < 10
    assert (second["stream"], second["prompt_tokens"], second["completion_tokens"]) == (True, 7, 3)
    assert (third["decision"], third["status"], third["key"]) == ("no_key", 401, None)
    assert audit.stat().st_mode & 0o777 == 0o600


def test_prompt_is_written_where_the_operator_asks_for_it(start: Start, tmp_path: Path) -> None:
    audit = tmp_path / "audit.jsonl"
    server = start(audit={"file": str(audit), "prompts": True})
    server.post(prompt="한국어")
    wait_until(lambda: bool(lines_of(audit)))
    assert lines_of(audit)[0]["asked"]["prompt"] == "한국어"


def test_audit_log_is_rotated(start: Start, tmp_path: Path) -> None:
    audit = tmp_path / "audit.jsonl"
    server = start(audit={"file": str(audit), "max_bytes": 1024, "files": 2})
    for _ in range(30):
        server.post(prompt="x")
        time.sleep(0.03)
    wait_until(lambda: (tmp_path / "audit.jsonl.2").is_file())
    server.close()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]
    assert all(lines_of(path) for path in tmp_path.iterdir())
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_decisions_are_counted_by_reason(opened: GuardedServer) -> None:
    name = "quantserve_guard_decisions_total"
    before = count(name, endpoint="completions", decision="limit_exceeded")
    opened.post(prompt="x", n=99)
    assert count(name, endpoint="completions", decision="limit_exceeded") == before + 1
    assert count("quantserve_guard_sequences") == 0
