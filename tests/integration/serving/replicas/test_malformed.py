"""What a client can do wrong at the public port: it passes as it came, or gets OpenAI's 4xx; never 500."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.serving.replicas.fronts import front_before

JSON = b'{"model":"m","prompt":"a"}'
GZIP = gzip.compress(JSON, mtime=0)
POST = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nConnection: close\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def get(target: bytes, method: bytes = b"GET") -> bytes:
    return method + b" " + target + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def post(body: bytes, header: bytes = b"") -> bytes:
    return POST + header + b"Content-Length: %d\r\n\r\n" % len(body) + body


@dataclass
class Arrived:
    """A request as the replica got it."""

    path: str
    body: bytes
    headers: dict[bytes, bytes]


@dataclass
class Public:
    """A front with one replica that notes what it gets."""

    port: int = 0
    arrived: list[Arrived] = field(default_factory=list)

    async def replica(self, request: web.BaseRequest) -> web.Response:
        headers = {name.lower(): value for name, value in request.raw_headers}
        self.arrived.append(Arrived(request.raw_path, await request.read(), headers))
        return web.json_response({"arrived": True})

    async def run(self, started: threading.Event, stop: threading.Event) -> None:
        behind = web.ServerRunner(web.Server(self.replica, auto_decompress=False))
        await behind.setup()
        await web.TCPSite(behind, "127.0.0.1", 0).start()
        replicas = {"1": f"http://127.0.0.1:{behind.addresses[0][1]}"}
        async with front_before(replicas, policy="cache_aware") as (_, port):
            self.port = port.number
            started.set()
            await asyncio.to_thread(stop.wait)
        await behind.cleanup()

    def send(self, *pieces: bytes, leave: bool = False) -> tuple[int, bytes]:
        """Send bytes; return the last answer's status and body, (0, b"") for none."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as client:
            for piece in pieces:
                client.sendall(piece)
            if leave:
                client.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := client.recv(65536):
                answer += chunk
        head, _, body = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
        return (int(head.split(b" ")[1]), body) if head else (0, b"")


@pytest.fixture(scope="module")
def public() -> Iterator[Public]:
    found, started, stop = Public(), threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: uvloop.run(found.run(started, stop)))
    thread.start()
    assert started.wait(20)
    yield found
    stop.set()
    thread.join()


def error_of(body: bytes) -> dict[str, Any]:
    """Return OpenAI's error object."""
    error: dict[str, Any] = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (b"gzip", GZIP),
        (b"gzip", GZIP[:-5]),
        (b"gzip", b"not gzip"),
        (b"gzip", gzip.compress(b"\0" * (40 << 20), mtime=0)),
        (b"deflate", b"not deflate"),
        (b"br", b"not brotli"),
        (b"zstd", b"not zstd"),
        (b"unheard-of", b"\xff\x00"),
        (b"gzip, br", b"twice"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) and len(value) > 20 else None,
)
def test_bodies_pass_without_being_decompressed(public: Public, encoding: bytes, body: bytes) -> None:
    status, _ = public.send(post(body, b"Content-Encoding: " + encoding + b"\r\n"))
    assert status == 200
    assert (public.arrived[-1].body, public.arrived[-1].headers[b"content-encoding"]) == (body, encoding)


@pytest.mark.parametrize(
    "request_bytes",
    {
        "length is no number": POST + b"Content-Length: abc\r\n\r\n" + JSON,
        "length is negative": POST + b"Content-Length: -5\r\n\r\n" + JSON,
        "length is beyond 64 bits": POST + b"Content-Length: 99999999999999999999999\r\n\r\n" + JSON,
        "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\n" + JSON,
        "length and chunks": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" + JSON,
        "chunk size is no number": CHUNKED + b"zz\r\nabc\r\n",
        "chunk size is negative": CHUNKED + b"-3\r\nabc\r\n",
        "chunk size is beyond 64 bits": CHUNKED + b"ffffffffffffffffffff\r\nabc\r\n",
        "chunk without its end": CHUNKED + b"3\r\nabcXX0\r\n\r\n",
        "garbage after a chunk": CHUNKED + b"3\r\nabc\r\nqq\r\n",
        "unknown transfer encoding": POST + b"Transfer-Encoding: foo\r\n\r\nabc",
        "chunked is not the last": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "5000 headers": post(JSON, b"".join(b"X-%d: a\r\n" % number for number in range(5000))),
        "NUL in a header": post(JSON, b"X-A: a\0b\r\n"),
        "header without colon": post(JSON, b"X-A\r\n"),
        "blank in a header's name": post(JSON, b"X A: 1\r\n"),
        "folded header": post(JSON, b"X-A: 1\r\n  more\r\n"),
        "bare line feed": post(JSON, b"X-A: 1\n"),
        "bare carriage return": post(JSON, b"X-A: 1\rfoo\r\n"),
        "header that is no UTF-8": post(JSON, b"X-A: \xff\xfe\r\n"),
        "path that is no UTF-8": get(b"/\xff"),
        "query that is no UTF-8": get(b"/v1/models?a=\xff"),
        "broken IPv6 address": get(b"http://[::1/v1/models"),
        "port beyond 65535": get(b"http://a:99999999/v1/models"),
        "no slash": get(b"v1/models"),
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "binary": b"\x00\x01\x02\x03\r\n\r\n",
        "unknown method": b"BREW /v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
        "unknown version": b"GET /v1/models HTTP/9.9\r\nHost: a\r\n\r\n",
        "no host": b"GET /v1/models HTTP/1.1\r\n\r\n",
        "two hosts": b"GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    }.items(),
    ids=lambda pair: pair[0],
)
def test_what_is_no_http_gets_a_400_of_openais_shape(
    public: Public, request_bytes: tuple[str, bytes]
) -> None:
    before = len(public.arrived)
    status, body = public.send(request_bytes[1])
    assert (status, error_of(body)["type"]) == (400, "invalid_request_error")
    assert len(public.arrived) == before


@pytest.mark.parametrize(
    ("pieces", "expected", "code"),
    [
        ([post(JSON, b"X-A: " + b"a" * 100_000 + b"\r\n")], 431, "headers_too_large"),
        ([b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"], 431, "headers_too_large"),
        ([post(JSON, b"Expect: 200-maybe\r\n")], 417, "unknown_expectation"),
        ([get(b"/%ff")], 404, "unknown_path"),
        ([get(b"a:80", b"CONNECT")], 404, "unknown_path"),
        ([get(b"*", b"OPTIONS")], 404, "unknown_path"),
        ([get(b"/v1/models", b"DELETE")], 405, "unknown_method"),
    ],
)
def test_each_fault_has_its_status(public: Public, pieces: list[bytes], expected: int, code: str) -> None:
    status, body = public.send(*pieces)
    assert (status, error_of(body)["code"]) == (expected, code)


@pytest.mark.parametrize(
    "pieces", [(POST + b"Content-Length: 100\r\n\r\n", JSON), (CHUNKED, b"5\r\nab"), (POST,), (b"GET /v1",)]
)
def test_a_client_that_leaves_early_reaches_no_replica(public: Public, pieces: tuple[bytes, ...]) -> None:
    before = len(public.arrived)
    with socket.create_connection(("127.0.0.1", public.port), timeout=20) as client:
        for piece in pieces:
            client.sendall(piece)
    assert public.send(post(JSON))[0] == 200
    assert len(public.arrived) == before + 1


def test_a_body_that_is_asked_for_first_comes(public: Public) -> None:
    assert public.send(post(JSON, b"Expect: 100-continue\r\n"))[0] == 200
    assert public.arrived[-1].body == JSON


def test_a_body_that_breaks_while_it_is_read_is_refused_at_once(public: Public) -> None:
    head = CHUNKED.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    with socket.create_connection(("127.0.0.1", public.port), timeout=20) as client:
        client.sendall(head)
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"  # so it is being read
        client.sendall(b"3\r\nabc\r\nzz\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_what_follows_a_body_shorter_than_it_claims_is_refused(public: Public) -> None:
    kept = POST.replace(b"Connection: close\r\n", b"")
    with socket.create_connection(("127.0.0.1", public.port), timeout=20) as client:
        client.sendall(kept + b"Content-Length: 2\r\n\r\n{}")
        answers = client.recv(1000)
        client.sendall(b"the rest of the body\r\n\r\n")
        while chunk := client.recv(1000):
            answers += chunk
    assert answers.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 400 " in answers


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt":' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"messages":[' + b'{"a":' * 400 + b"1" + b"}" * 400 + b"]}",
        b"[" * 100_000,
        b'{"prompt":[[1' + b"0" * 5000 + b"]]}",
        b'{"model":"\\ud800","prompt":"\\udfff"}',
        b'{"prompt":"\xff"}',
        b"",
    ],
)
def test_odd_json_passes_as_it_is(public: Public, body: bytes) -> None:
    assert public.send(post(body))[0] == 200
    assert public.arrived[-1].body == body


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    head=st.binary(max_size=60),
    header=st.binary(max_size=60),
    body=st.binary(max_size=60),
    start=st.sampled_from([b"", b"GET /v1/models", POST, CHUNKED, b"POST /v1/completions HTTP/1.1\r\n"]),
)
def test_no_bytes_at_all_make_a_500(
    public: Public, head: bytes, header: bytes, body: bytes, start: bytes
) -> None:
    status, _ = public.send(start + head + b"\r\n" + header + b"\r\n\r\n" + body, leave=True)
    assert status < 500
