"""One request by ASGI's messages: its body within bounds, its answer, what is left unread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantserve.core.http.admission import UnreadBodies
from quantserve.core.http.exchange import ClientLeft, HttpExchange, Message
from quantserve.core.http.refusal import Refusal

CHUNKS = st.lists(st.binary(max_size=40), min_size=1, max_size=8)


class Client:
    """Sends a body in pieces, then nothing or a disconnect; remembers the answer."""

    def __init__(self, pieces: Sequence[bytes], *, whole: bool = True, leaves: bool = False) -> None:
        self.pieces, self.whole, self.leaves = list(pieces), whole, leaves
        self.sent: list[Message] = []

    def exchange(self, *headers: tuple[bytes, bytes], method: str = "POST") -> HttpExchange:
        scope: dict[str, Any] = {"method": method, "headers": [*headers], "client": ("127.0.0.1", 1)}
        return HttpExchange(scope, self.receive, self.send)

    async def receive(self) -> Message:
        if self.pieces:
            piece = self.pieces.pop(0)
            more = bool(self.pieces) or not self.whole
            return {"type": "http.request", "body": piece, "more_body": more}
        if not self.leaves:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)


@given(CHUNKS, st.integers(0, 400))
def test_a_body_is_read_whole_or_refused_by_its_size_however_it_is_cut(
    pieces: list[bytes], limit: int
) -> None:
    body = b"".join(pieces)
    exchange = Client(pieces).exchange()
    if len(body) <= limit:
        assert asyncio.run(exchange.read_body(limit, 60)) == body
        assert exchange.is_whole
    else:
        with pytest.raises(Refusal) as caught:
            asyncio.run(exchange.read_body(limit, 60))
        assert (caught.value.status, caught.value.code, caught.value.close) == (413, "body_too_large", True)


@pytest.mark.parametrize("length", [b"11", b"9" * 19, b"-1", b"1e1", b"", b"0x1", "１".encode()])
def test_a_length_that_is_none_or_too_large_is_refused_before_anything_is_read(length: bytes) -> None:
    client = Client([b"x"])
    with pytest.raises(Refusal) as caught:
        asyncio.run(client.exchange((b"content-length", length)).read_body(10, 60))
    assert caught.value.status == 413
    assert client.pieces == [b"x"]


def test_a_body_that_does_not_come_runs_out_of_time() -> None:
    with pytest.raises(Refusal) as caught:
        asyncio.run(Client([b"half"], whole=False).exchange().read_body(10, 0.01))
    assert (caught.value.status, caught.value.code) == (408, "body_timeout")
    assert "4 bytes of it came" in str(caught.value)


def test_a_client_that_leaves_is_no_refusal() -> None:
    with pytest.raises(ClientLeft):
        asyncio.run(Client([b"half"], whole=False, leaves=True).exchange().read_body(10, 60))


def test_of_too_many_unread_bodies_the_oldest_of_whoever_has_most_gives_way() -> None:
    async def run() -> list[str]:
        unread, ended = UnreadBodies(3), []

        async def read(name: str) -> None:
            exchange = Client([], whole=False).exchange()
            with pytest.raises(Refusal):
                await exchange.read_body(10, 600, unread, name[0])
            ended.append(name)

        tasks = []
        for name in ("a1", "b1", "b2", "a2", "a3"):
            tasks.append(asyncio.create_task(read(name)))
            for _ in range(5):
                await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return ended

    assert asyncio.run(run()) == ["b1", "a1"]


def test_the_app_reads_the_body_once_and_then_hears_that_the_client_left() -> None:
    async def run() -> tuple[list[Message], bool]:
        exchange = Client([b"bo", b"dy"], leaves=True).exchange()
        exchange.replay(await exchange.read_body(10, 60))
        return [await exchange.receive(), await exchange.receive()], exchange.disconnected

    (first, second), disconnected = asyncio.run(run())
    assert first == {"type": "http.request", "body": b"body", "more_body": False}
    assert second["type"] == "http.disconnect"
    assert disconnected


@pytest.mark.parametrize(
    ("given", "same"), [(b"abc-1", True), (b"a b<c>", False), (b"x" * 129, False), (None, False)]
)
def test_a_plain_id_of_the_clients_is_taken_and_the_app_sees_the_same(
    given: bytes | None, same: bool
) -> None:
    scope: dict[str, Any] = {"method": "GET", "headers": [(b"x-request-id", given)] if given else []}
    client = Client([])
    exchange = HttpExchange(scope, client.receive, client.send)
    assert (exchange.request_id == given) is same
    assert scope["headers"] == [(b"x-request-id", exchange.request_id)]
    assert len(exchange.request_id) == (5 if same else 32)


def test_what_is_unread_of_a_refused_body_is_taken_before_the_connection_ends() -> None:
    client = Client([b"x" * 1000] * 5)
    exchange = client.exchange((b"content-length", b"5000"))
    asyncio.run(exchange.refuse(Refusal(413, "body_too_large", "no", close=True)))
    assert client.pieces == []
    start, body, last = client.sent
    assert (start["status"], body["more_body"], last["body"]) == (413, True, b"")
    assert (b"connection", b"close") in start["headers"]


def test_no_more_is_taken_of_a_refused_body_than_a_megabyte() -> None:
    client = Client([b"x" * 100_000] * 40)
    exchange = client.exchange((b"transfer-encoding", b"chunked"))
    asyncio.run(exchange.refuse(Refusal(413, "body_too_large", "no", close=True)))
    assert 1 << 20 <= exchange.received_bytes < (1 << 20) + 100_000


def test_an_answer_to_head_has_the_length_of_its_body_and_none() -> None:
    client = Client([])
    asyncio.run(client.exchange(method="HEAD").answer(200, [], b"abc"))
    start, body = client.sent
    assert (b"content-length", b"3") in start["headers"]
    assert body["body"] == b""
