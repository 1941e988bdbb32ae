"""Connections are kept between requests, and none is left open that cannot be used again."""

from __future__ import annotations

import asyncio
import json

import psutil

from quantserve.benchmarks.load.http import Http, HttpReply
from tests.integration.benchmarks.conftest import Start

BODY = json.dumps({"model": "fake", "prompt": "a", "max_tokens": 4, "stream": True}).encode()
GOODBYE = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"


async def ask(url: str, times: int) -> tuple[list[HttpReply], int]:
    """Ask one after another; return the replies and how many sockets to the server are open then."""
    http = Http(url, "/completions", {}, 10.0)
    replies = [await http.post(BODY) for _ in range(times)]
    await asyncio.sleep(0.05)
    port = int(url.split(":")[2].split("/")[0])
    held = [c for c in psutil.Process().net_connections("tcp") if c.raddr and c.raddr.port == port]
    http.close()
    return replies, len({c.laddr.port for c in held})


def test_requests_in_a_row_share_one_connection(start_fake: Start) -> None:
    replies, held = asyncio.run(ask(start_fake().url, 20))
    assert [r.failure for r in replies] == [None] * 20
    assert held == 1


async def ask_a_server_that_closes() -> tuple[list[HttpReply], int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(BODY)
        writer.write(GOODBYE)
        await writer.drain()
        await reader.read()  # it waits for the client to close first
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        return await ask(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", 5)


def test_a_connection_that_the_server_ends_is_closed() -> None:
    replies, held = asyncio.run(ask_a_server_that_closes())
    assert [r.failure for r in replies] == [None] * 5
    assert held == 0
