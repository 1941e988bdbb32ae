"""The guard and the answering server refuse the same request in the same words: one edge, not two."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from quantserve.core.http.admission import Places
from quantserve.core.http.exchange import ASGIApp, Message, Receive, Scope, Send
from quantserve.core.http.key_commands import new_key
from quantserve.core.http.keys import KeyRing, write_keys
from quantserve.rag.server.config import Bounds, key_rules
from quantserve.rag.server.gate import Gate, Tickets
from quantserve.serving.guard.middleware import Guard
from quantserve.serving.guard.settings import GuardSettings

PATH = "/v1/chat/completions"
BODY = json.dumps({"messages": [{"role": "user", "content": "hi"}]}).encode()
HOST = (b"host", b"127.0.0.1:8000")
OFTEN = 2
MOST_BYTES = 2048


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer whatever gets through."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


def guard(keys: Path | None) -> ASGIApp:
    limits = {"max_body_bytes": MOST_BYTES, "body_timeout_s": 0.01}
    settings = {"keys_file": str(keys) if keys is not None else None, "limits": limits}
    return Guard(answer, GuardSettings.model_validate(settings))


def gate(keys: Path | None) -> ASGIApp:
    ring = KeyRing(keys, key_rules()) if keys is not None else None
    bounds = Bounds(max_body_bytes=MOST_BYTES, body_timeout_s=0.01)
    return Gate(answer, bounds, ring, Tickets(), Places(8), Places(8), lambda _: None)


SERVERS: tuple[Callable[[Path | None], ASGIApp], ...] = (guard, gate)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A file that both servers read, and its keys by name."""
    past = datetime.now(UTC) - timedelta(days=1)
    made = {
        "good": new_key(key_rules(), "good"),
        "old": new_key(key_rules(), "old", expires=past),
        "slow": new_key(key_rules(), "slow", requests_per_minute=OFTEN),
    }
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    write_keys(path, [key for key, _ in made.values()])
    return path, {name: secret for name, (_, secret) in made.items()}


def asked(
    app: ASGIApp, *headers: tuple[bytes, bytes], body: bytes = BODY, whole: bool = True
) -> tuple[int, dict[bytes, bytes], dict[str, Any]]:
    """Ask once; return status, headers and error."""
    pieces: list[Message] = [{"type": "http.request", "body": body, "more_body": not whole}]
    sent: list[Message] = []

    async def receive() -> Message:
        if pieces:
            return pieces.pop()
        if not sent:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}  # it has its answer

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "query_string": b"",
        "client": ("127.0.0.1", 1),
        "headers": [(b"content-type", b"application/json"), *headers],
    }

    async def call() -> None:
        await app(scope, receive, send)

    asyncio.run(call())
    text = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), json.loads(text).get("error", {})


def bearer(secret: str) -> tuple[bytes, bytes]:
    return b"authorization", f"Bearer {secret}".encode()


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ([HOST], 401, "no_key"),
        ([HOST, bearer("")], 401, "no_key"),
        ([HOST, (b"authorization", b"Basic x")], 401, "no_key"),
        ([HOST, bearer("rag-00000000-x")], 401, "wrong_key"),
        ([HOST, bearer("{good}x")], 401, "wrong_key"),
        ([HOST, bearer("{old}")], 401, "expired_key"),
        ([HOST, bearer("{good}")], 200, None),
        ([HOST, (b"x-api-key", b"{good}")], 200, None),
        ([(b"host", b"evil.example"), bearer("{good}")], 200, None),
    ],
)
def test_keys_open_and_close_both(
    keys: tuple[Path, dict[str, str]], headers: list[tuple[bytes, bytes]], status: int, code: str | None
) -> None:
    path, secrets = keys
    filled = [(name, value.decode().format(**secrets).encode()) for name, value in headers]
    found = [asked(server(path), *filled) for server in SERVERS]
    assert [(one[0], one[2].get("code")) for one in found] == [(status, code)] * 2
    assert found[0][2] == found[1][2]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([(b"host", b"evil.example")], "foreign_host"),
        ([], "foreign_host"),
        ([HOST, (b"origin", b"http://evil.example")], "foreign_origin"),
        ([HOST, (b"host", b"evil.example")], "foreign_host"),
        ([(b"host", b"evil.example"), HOST], "foreign_host"),
        ([HOST, (b"origin", b"http://127.0.0.1:8000"), (b"origin", b"null")], "foreign_origin"),
    ],
)
def test_without_keys_another_sites_page_asks_neither(headers: list[tuple[bytes, bytes]], code: str) -> None:
    found = [asked(server(None), *headers) for server in SERVERS]
    assert [(one[0], one[2]["code"]) for one in found] == [(403, code)] * 2
    assert found[0][2] == found[1][2]


@pytest.mark.parametrize("how", ["declared", "chunked", "slow"])
def test_bodies_have_the_same_bounds(how: str) -> None:
    long, length = b"x" * (MOST_BYTES + 1), (b"content-length", str(MOST_BYTES + 1).encode())
    chunked = (b"transfer-encoding", b"chunked")
    found = [
        asked(server(None), HOST, length if how == "declared" else chunked, body=BODY, whole=False)
        if how == "slow"
        else asked(server(None), HOST, length if how == "declared" else chunked, body=long)
        for server in SERVERS
    ]
    status, code = (408, "body_timeout") if how == "slow" else (413, "body_too_large")
    assert [(one[0], one[2]["code"]) for one in found] == [(status, code)] * 2
    assert found[0][2] == found[1][2]
    if how != "chunked":  # of which nothing is unread
        assert [one[1][b"connection"] for one in found] == [b"close"] * 2


def test_a_key_that_asks_too_often_waits_at_both(keys: tuple[Path, dict[str, str]]) -> None:
    path, secrets = keys
    for server in SERVERS:
        app = server(path)
        for _ in range(OFTEN):
            assert asked(app, HOST, bearer(secrets["slow"]))[0] == 200
        status, headers, error = asked(app, HOST, bearer(secrets["slow"]))
        assert (status, error["code"], headers[b"retry-after"]) == (429, "rate_limit", b"30")


@pytest.mark.parametrize("server", SERVERS)
def test_every_answer_has_the_requests_id(server: Callable[[Path | None], ASGIApp]) -> None:
    for headers in ([HOST], [(b"host", b"evil.example")]):
        assert asked(server(None), *headers, (b"x-request-id", b"abc"))[1][b"x-request-id"] == b"abc"
