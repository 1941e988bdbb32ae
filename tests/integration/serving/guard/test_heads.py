"""Heads that grow, stall or never come, on real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from quantserve.core.http.connections import ConnectionBounds, Connections, bounded_protocol
from tests.integration.serving.guard.app import wait_until

LINE = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
SLOW_S = 0.5


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Answer anything, /slow after longer than a head may take."""
    if scope["path"] == "/slow":
        await asyncio.sleep(3 * SLOW_S)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    bounds = ConnectionBounds(max_header_bytes=4096, header_timeout_s=SLOW_S)
    config = uvicorn.Config(
        answer,
        port=0,
        http=bounded_protocol(Connections(bounds)),
        lifespan="off",
        log_level="critical",
        ws="none",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(20)


def said(port: int, *pieces: bytes) -> bytes:
    """Send, and return everything that comes until the server ends the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for piece in pieces:
            connection.sendall(piece)
        found = b""
        while data := connection.recv(65536):
            found += data
    return found


def code_of(answered: bytes) -> tuple[int, str]:
    head, _, body = answered.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)["error"]["code"]


@pytest.mark.parametrize(
    "head", [LINE + b"X: " + b"a" * 400_000, LINE + b"X: a\r\n" * 60_000, b"GET /" + b"a" * 400_000]
)
def test_head_that_grows_without_end_is_refused(port: int, head: bytes) -> None:
    assert code_of(said(port, head)) == (431, "headers_too_large")


@pytest.mark.parametrize("head", [b"G", LINE, LINE + b"X: a\r\n"])
def test_head_that_does_not_come_ends_the_connection(port: int, head: bytes) -> None:
    assert code_of(said(port, head)) == (408, "header_timeout")


@pytest.mark.parametrize("blank", [b"", b"\r\n\r\n"])
def test_connection_that_asks_nothing_is_closed_without_an_answer(port: int, blank: bytes) -> None:
    assert said(port, blank) == b""


def test_blank_lines_between_requests_keep_no_connection_open(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(LINE + b"\r\n")
        found = b""
        while not found.endswith(b"ok"):
            found += connection.recv(65536)
        connection.sendall(b"\r\n")
        assert connection.recv(65536) == b""


def test_what_is_no_http_is_refused_in_the_shape_of_all_errors(port: int) -> None:
    assert code_of(said(port, b"\x16\x03\x01\x02\x00\r\n\r\n")) == (400, "invalid_http")


def test_head_of_a_next_request_cuts_no_answer(port: int) -> None:
    whole = LINE.replace(b"/ ", b"/slow ") + b"\r\n"
    first, _, second = said(port, whole + b"GET").partition(b"ok")
    assert first.startswith(b"HTTP/1.1 200 OK")
    assert code_of(second) == (408, "header_timeout")


def test_heads_within_the_limits_are_counted_one_by_one(port: int) -> None:
    whole = LINE + b"X: " + b"a" * 3000 + b"\r\n\r\n"
    assert said(port, *[whole] * 20, b"G").count(b"HTTP/1.1 200 OK") == 20
