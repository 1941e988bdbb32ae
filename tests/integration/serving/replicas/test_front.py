"""The front before servers of the test's own: what goes on, what comes back, and what is tried again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any

import httpx
import pytest
import uvloop

from quantserve.serving.guard.internal import FRONT_HEADER, VARIABLE
from quantserve.serving.replicas import metrics
from quantserve.serving.replicas.config import FrontOptions
from quantserve.serving.replicas.public_port import PublicPort
from tests.fakes.openai_server import Behaviour, FakeServer
from tests.integration.serving.replicas.fronts import front_before
from tests.programs import PYTHON, last_json

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BODY = {"model": "fake-model", "messages": [{"role": "user", "content": "hello"}]}
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def replica(serve: Serve) -> AsyncIterator[str]:
    """A server that does with each connection what the test says; its root address."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One request: its head, and a body of the length it says."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0"
    )
    return head + await reader.readexactly(int(length.partition(b":")[2]))


def answering(*answers: bytes) -> Serve:
    """Give one of these to each request of a connection, then end it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await read_request(reader)
            writer.write(answer)
        writer.close()

    return serve


async def ask(port: PublicPort, **more: Any) -> httpx.Response:
    async with client_of(port) as client:
        return await client.post("/v1/chat/completions", json=BODY, **more)


def client_of(port: PublicPort) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port.number}", trust_env=False, timeout=20)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def run(test: Coroutine[Any, Any, None]) -> None:
    """In the supervisor's event loop."""
    uvloop.run(asyncio.wait_for(test, 60))


@pytest.fixture
def nobody() -> str:
    """An address where nothing listens."""
    return "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("keys", "origins", "headers", "status"),
    [
        (False, (), {}, 503),
        (False, (), {"Origin": "OWN"}, 503),
        (False, (), {"Host": "evil.example"}, 403),
        (False, (), {"Origin": "https://evil.example"}, 403),
        (False, ("https://page.example",), {"Origin": "https://page.example"}, 503),
        (True, (), {"Host": "pod.example", "Origin": "https://page.example"}, 503),
    ],
)
def test_other_sites_pages_are_refused_without_keys(
    keys: bool, origins: tuple[str, ...], headers: Mapping[str, str], status: int
) -> None:
    async def test() -> None:
        async with front_before({}, guard={"allowed_origins": origins}, keys=keys) as (_, port):
            own = f"http://127.0.0.1:{port.number}"
            given = {name: value.replace("OWN", own) for name, value in headers.items()}
            async with client_of(port) as client:
                answer = await client.get("/health", headers=given)
            assert answer.status_code == status

    run(test())


def test_only_the_front_itself_says_that_it_is_the_front(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "qs-internal-k")
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await read_request(reader)).lower())
        writer.write(OK)

    async def test() -> None:
        forged = {FRONT_HEADER: "qs-internal-guess", "X-Forwarded-For": "9.9.9.9", "X-Real-IP": "9.9.9.9"}
        async with replica(serve) as url, front_before({"1": url}) as (_, port):
            assert (await ask(port, headers=forged)).text == "ok"

    run(test())
    shown = FRONT_HEADER.lower().encode()
    assert seen[0].count(shown) == 1
    assert shown + b": qs-internal-k\r\n" in seen[0]
    assert seen[0].count(b"x-forwarded-for: ") == 1
    assert b"x-forwarded-for: 127.0.0.1\r\n" in seen[0]
    assert b"9.9.9.9" not in seen[0]


HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"Content-Length: 2\r\n\r\n{}",
        HEAD + CHUNKED + b"\r\n1\r\n{\r\n1\r\n}\r\n0\r\nX-Trailer: a\r\n\r\n",
        HEAD + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n{}",
        HEAD
        + b"Upgrade: h2c\r\nConnection: Upgrade\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        HEAD.replace(b"/v1", b"http://elsewhere/v1") + b"Content-Length: 2\r\n\r\n{}",
    ],
    ids=["a length", "chunks", "an upgrade offered", "an upgrade and chunks", "a whole address"],
)
def test_a_body_goes_on_whole_however_it_came(sent: bytes) -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await read_request(reader)).lower())
        writer.write(OK)

    async def test() -> None:
        async with replica(serve) as url, front_before({"1": url}) as (_, port):
            assert (await ask_raw(port, sent)).startswith(b"HTTP/1.1 200 ")

    run(test())
    assert seen[0].startswith(b"post /v1/completions http/1.1\r\n")
    assert seen[0].endswith(b"\r\n\r\n{}")
    for name in (b"x-trailer", b"upgrade", b"transfer-encoding"):
        assert name + b": " not in seen[0]


def test_an_answer_that_does_not_wait_for_the_body_passes() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        writer.close()

    async def test() -> None:
        async with replica(serve) as url, front_before({"1": url}) as (_, port), client_of(port) as client:
            answer = await client.post("/v1/completions", content=b"x" * 5_000_000)
            assert (answer.status_code, answer.text) == (413, "no")

    run(test())


def test_events_pass_as_they_come_and_not_at_the_end() -> None:
    go_on = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n")
        await go_on.wait()
        writer.write(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

    async def test() -> None:
        async with (
            replica(serve) as url,
            front_before({"1": url}) as (_, port),
            client_of(port) as client,
            client.stream("POST", "/v1/chat/completions", json=BODY) as answer,
        ):
            pieces = answer.aiter_bytes()
            assert await anext(pieces) == b"data: 1\n\n"
            go_on.set()
            assert [piece async for piece in pieces] == [b"data: 2\n\n"]

    run(test())


@pytest.mark.parametrize("begun", [True, False], ids=["amid a stream", "before the answer"])
def test_a_client_that_leaves_ends_its_request_at_the_replica(begun: bool) -> None:
    arrived, left = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        if begun:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        arrived.set()
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        left.set()
        writer.close()

    async def test() -> None:
        async with replica(serve) as url, front_before({"1": url}) as (front, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
            writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
            await arrived.wait()
            if begun:
                await reader.readuntil(b"x")
            assert front.picker.running["1"] == 1
            writer.close()
            await left.wait()
            await until(lambda: front.picker.running["1"] == 0)
            assert port.held_bytes == 0

    run(test())


def test_a_full_queue_is_told_as_the_guard_tells_it() -> None:
    async def test() -> None:
        with FakeServer(Behaviour(statuses=(429,), retry_after_s=7)) as server:
            url = server.base_url.removesuffix("/v1")
            async with front_before({"1": url}) as (_, port):
                answer = await ask(port)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")

    run(test())


AWAY: dict[str, Serve] = {
    "says 503": answering(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
    "says 502": answering(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"),
    "ends without a word": answering(b""),
    "ends amid the head": answering(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "says something first": answering(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK),
    "is no HTTP": answering(b"SSH-2.0-OpenSSH\r\n\r\n"),
}


@pytest.mark.parametrize("away", AWAY.values(), ids=AWAY)
def test_a_replica_that_is_away_costs_no_request(away: Serve) -> None:
    async def test() -> None:
        async with (
            replica(away) as url,
            replica(answering(*[OK] * 8)) as well,
            front_before({"1": url, "2": well}) as (_, port),
        ):
            answers = [await ask(port) for _ in range(6)]
        assert [answer.text for answer in answers] == ["ok"] * 6

    run(test())


def test_where_none_is_there_the_client_hears_when_to_come_again(nobody: str) -> None:
    async def test() -> None:
        before = metrics.GIVEN_UP._value.get()
        async with front_before({"1": nobody, "2": nobody}) as (_, port):
            answer = await ask(port)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert answer.json()["error"] == {
            "message": "no replica could take the request",
            "type": "server_error",
            "param": None,
            "code": "service_unavailable",
        }
        assert metrics.GIVEN_UP._value.get() == before + 1

    run(test())


def test_a_request_waits_for_a_replica_that_comes() -> None:
    async def test() -> None:
        async with replica(answering(OK)) as url, front_before({}, options=FrontOptions()) as (front, port):
            asking = asyncio.create_task(ask(port))
            await until(lambda: bool(port.connections))
            front.add("1", url)
            assert (await asking).text == "ok"

    run(test())


def test_a_stream_that_breaks_ends_with_an_error_and_no_short_answer() -> None:
    async def test() -> None:
        with FakeServer(Behaviour(cut_after_tokens=2, inter_token_s=0.01)) as server:
            async with front_before({"1": server.base_url.removesuffix("/v1")}) as (_, port):
                with pytest.raises(httpx.RemoteProtocolError):
                    await stream(port)
            assert len(server.chats) == 1  # what has begun is not asked for again

    run(test())


async def stream(port: PublicPort) -> bytes:
    async with client_of(port) as client:
        answer = await client.post("/v1/chat/completions", json={**BODY, "stream": True})
        return answer.content


def test_a_kept_connection_that_has_ended_says_nothing_of_the_replica() -> None:
    async def test() -> None:
        async with replica(answering(OK)) as url, front_before({"1": url}) as (front, port):
            before = metrics.RESENT._value.get()
            for _ in range(4):  # the replica ends each connection after its answer
                assert (await ask(port)).text == "ok"
            assert metrics.RESENT._value.get() == before
            assert front.picker.running["1"] == 0

    run(test())


def test_a_client_that_reads_slowly_makes_the_replica_wait() -> None:
    piece, sent = b"x" * 65536, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(piece)
                await writer.drain()
                sent += len(piece)

    async def test() -> None:
        async with replica(serve) as url, front_before({"1": url}) as (_, port):
            _, writer = await asyncio.open_connection("127.0.0.1", port.number, limit=1024)
            writer.write(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
            seen = -1
            while sent == 0 or seen != sent:
                seen = sent
                await asyncio.sleep(0.3)
            assert sent < 1 << 26
            writer.close()

    run(test())


def test_requests_sent_without_waiting_are_answered_in_their_order() -> None:
    async def test() -> None:
        first, second = (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%b" % word for word in (b"1", b"2"))
        async with replica(answering(first, second)) as url, front_before({"1": url}) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
            get = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n"
            writer.write(get + b"\r\n" + get + b"\r\n" + get.replace(b"/v1/models", b"/nothing") + b"\r\n")
            writer.write(b"no HTTP\r\n\r\n")
            answers = await reader.read()
        assert [answers.index(word) for word in (b"\r\n\r\n1", b"\r\n\r\n2", b" 404 ", b" 400 ")] == sorted(
            answers.index(word) for word in (b"\r\n\r\n1", b"\r\n\r\n2", b" 404 ", b" 400 ")
        )

    run(test())


@pytest.mark.parametrize(
    ("method", "answer", "expected"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", (200, b"", "5")),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"", None)),
        ("GET", b"HTTP/1.1 200 OK\r\n\r\nuntil the end", (200, b"until the end", None)),
        (
            "GET",
            b"HTTP/1.1 418 Teapot\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno",
            (418, b"no", "2"),
        ),
    ],
)
def test_answers_of_every_frame_pass(
    method: str, answer: bytes, expected: tuple[int, bytes, str | None]
) -> None:
    async def test() -> None:
        async with (
            replica(answering(answer)) as url,
            front_before({"1": url}) as (_, port),
            client_of(port) as client,
        ):
            for _ in range(2):
                got = await client.request(method, "/v1/models")
                assert (got.status_code, got.content, got.headers.get("content-length")) == expected

    run(test())


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"", "header_timeout"),
        (b"POST /v1/comp", "header_timeout"),
        (b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{", "body_timeout"),
    ],
)
def test_what_does_not_come_is_not_waited_for(sent: bytes, code: str) -> None:
    async def test() -> None:
        limits = {"limits": {"header_timeout_s": 0.2, "body_timeout_s": 0.2}}
        async with front_before({}, guard=limits) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
            writer.write(sent)
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert code.encode() in answer

    run(test())


def test_bodies_of_all_requests_share_one_bound_and_give_it_back() -> None:
    head = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"

    async def test() -> None:
        async with (
            replica(answering(OK, OK)) as url,
            front_before({"1": url}, most_held_bytes=10) as (_, port),
        ):
            waiting, begun = await asyncio.open_connection("127.0.0.1", port.number)
            begun.write(head % 7 + b"123456")
            await until(lambda: port.held_bytes == 6)
            reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
            writer.write(head % 5 + b"12345")
            answer = await reader.readuntil(b"queue_full")
            assert answer.startswith(b"HTTP/1.1 429 ")
            assert b"retry-after: 2\r\n" in answer
            await until(lambda: port.held_bytes == 6)
            begun.write(b"7")
            assert (await waiting.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
            await until(lambda: port.held_bytes == 0)
            assert (await ask_raw(port, head % 10 + b"1234567890")).startswith(b"HTTP/1.1 200 ")

    run(test())


async def ask_raw(port: PublicPort, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
    writer.write(request)
    answer = await reader.readuntil(b"ok")
    writer.close()
    return answer


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_metrics_are_every_replicas_however_they_are_packed(method: str) -> None:
    async def test() -> None:
        text = b"# TYPE a gauge\na 1.0\n"
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
            len(text),
            text,
        )
        plain = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)
        async with (
            replica(answering(chunked)) as one,
            replica(answering(plain)) as two,
            front_before({"1": one, "2": two}) as (_, port),
            client_of(port) as client,
        ):
            answer = await client.request(method, "/metrics")
        assert answer.status_code == 200
        expected = 'a{replica="1"} 1.0\na{replica="2"} 1.0\n'
        assert (expected in answer.text) == (method == "GET")

    run(test())


def test_a_front_that_stops_ends_what_it_began_and_takes_no_more() -> None:
    go_on = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nxx")
        await go_on.wait()
        writer.write(b"yy")

    async def test() -> None:
        async with replica(serve) as url, front_before({"1": url}) as (front, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
            other, waiting = await asyncio.open_connection("127.0.0.1", port.number)
            writer.write(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
            await reader.readuntil(b"xx")
            front.draining = True
            waiting.write(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
            refused = await other.read()
            closing = asyncio.create_task(port.close(drain_s=20))
            await until(lambda: port.closing)
            assert not closing.done()
            go_on.set()
            assert await reader.read() == b"yy"
            await closing
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"connection: close" in refused

    run(test())


def test_what_the_front_costs_is_measured_on_both_sides() -> None:
    with FakeServer() as server:
        words = (
            "-m",
            "quantserve.serving.replicas.bench",
            server.base_url.removesuffix("/v1"),
            "--rounds",
            "2",
        )
        found = last_json(PYTHON, *words, "--policy", "cache_aware", timeout_s=120)
        asked = len(server.chats)
    assert found["policy"] == "cache_aware"
    assert set(found["whole"]) == set(found["stream"]) == {"lone_ms", "front_ms", "added_ms", "ratio"}
    assert asked == 2 * 2 * (50 + 2)  # whole and streamed, on both sides, warm-up and rounds
