"""Connections to one replica that are kept alive, and an answer written on piece by piece as it comes.

httptools (the parser of uvicorn, which the replicas are) finds where an answer begins and ends; its body is
not looked at and goes on as it is framed. A general HTTP client costs a request more than all else here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast
from urllib.parse import urlsplit

import httptools

HeaderList = list[tuple[bytes, bytes]]
_HEAD_END = b"\r\n\r\n"
_BODILESS = frozenset((204, 304))
_AWAY = frozenset((502, 503))
"""Statuses of a replica that stops, or whose engine is being replaced."""


class AnswerCut(Exception):
    """The connection ended amid an answer."""


class AnswerSink(Protocol):
    """Takes an answer's head and what has come of its body; returns where the rest is written."""

    def begin(self, answer: ReplicaConnection, early: bytes) -> Callable[[bytes], object]: ...  # noqa: D102


class ReplicaConnection(asyncio.Protocol):
    """One connection, and the answer that comes on it."""

    def __init__(self) -> None:
        """Made by the event loop."""
        self.status = 0
        """Of the answer; 0 until its head is whole."""
        self.headers: HeaderList = []
        """Names in small letters."""
        self.framed = False
        """Whether the answer says where it ends; otherwise it ends with the connection."""
        self._parser = httptools.HttpResponseParser(self)
        self._head = b""
        self._write: Callable[[bytes], object] | None = None
        self._head_only = False
        self._whole = True
        self._kept_alive = True
        self._outcome: asyncio.Future[bool] | None = None

    @property
    def reusable(self) -> bool:
        """Whether another request can be sent."""
        return self._whole and self._kept_alive and not self._transport.is_closing()

    async def exchange(self, request: bytes, sink: AnswerSink, *, head_only: bool) -> bool:
        """Send a whole request and hand its answer on as it comes.

        `head_only` says that the method is HEAD, whose answer has no body. Return False where the replica
        is away: nothing was handed on, and another may be asked.

        Raises:
            AnswerCut: the answer did not come to its end.
        """
        self.status, self.headers, self._head = 0, [], b""
        self._sink, self._write, self._head_only, self._whole = sink, None, head_only, False
        self._outcome = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._outcome

    def close(self) -> None:
        """End the connection, by which the replica learns that nobody wants the rest."""
        self._transport.abort()

    def hold(self, held: bool) -> None:
        """Make the replica wait while whoever reads is slow, and let it go on."""
        if not self._transport.is_closing():
            (self._transport.pause_reading if held else self._transport.resume_reading)()

    def _settle(self, *, answered: bool) -> None:
        if self._outcome is None or self._outcome.done():
            return
        if answered or self._write is None:
            self._outcome.set_result(answered)
        else:
            self._outcome.set_exception(AnswerCut())

    # called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to write."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._kept_alive = False
            self.close()
            self._settle(answered=False)
            return
        if self._write is not None:
            self._write(data)
        elif not self.status:
            self._head += data
            return
        elif self.status in _AWAY:
            self._settle(answered=False)
            return
        else:
            self._write = self._sink.begin(self, (self._head + data).partition(_HEAD_END)[2])
        if self._whole:
            self._settle(answered=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """End here a body whose length nobody said; any other broke off."""
        self._settle(answered=exc is None and self._write is not None and not self.framed)

    # called by the parser

    def on_message_begin(self) -> None:
        """Refuse what nobody asked for.

        Raises:
            ValueError: taken by the parser, which gives up.
        """
        if self._whole:
            raise ValueError("an answer without a request")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Make the head known.

        Raises:
            ValueError: it is an interim one, which nobody asked for either.
        """
        if self._parser.get_status_code() < 200:
            raise ValueError("an interim answer")
        self.status, self._whole = self._parser.get_status_code(), self._head_only
        said = any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers)
        self.framed = said or self._head_only or self.status in _BODILESS
        self._kept_alive = self._parser.should_keep_alive() and not self._head_only

    def on_message_complete(self) -> None:
        """Note the end."""
        self._whole = True


class ReplicaClient:
    """Asks one replica."""

    def __init__(self, url: str, connect_timeout_s: float) -> None:
        """`url` is its root address."""
        self.url = url
        self._timeout_s = connect_timeout_s
        self._idle: list[ReplicaConnection] = []
        self._closed = False

    async def exchange(self, request: bytes, sink: AnswerSink, *, head_only: bool) -> bool:
        """Send a request and hand its answer on; False where the replica is away.

        A connection that was kept alive may have ended meanwhile, which says nothing of the replica.

        Raises:
            AnswerCut: the answer did not come to its end.
        """
        while True:
            fresh = not self._idle
            connection = await self._connect() if fresh else self._idle.pop()
            if connection is None or (fresh and not connection.reusable):
                return False
            if not connection.reusable:
                continue
            try:
                answered = await connection.exchange(request, sink, head_only=head_only)
            finally:
                self._release(connection)
            if answered or fresh or connection.status:
                return answered

    async def _connect(self) -> ReplicaConnection | None:
        try:
            async with asyncio.timeout(self._timeout_s):
                where, loop = urlsplit(self.url), asyncio.get_running_loop()
                host, port = where.hostname or "", where.port or 80
                _, made = await loop.create_connection(ReplicaConnection, host, port)
        except OSError:  # TimeoutError among them
            return None
        return made

    def _release(self, connection: ReplicaConnection) -> None:
        """Keep a connection for the next request, or end it where its answer is not whole."""
        if connection.reusable and not self._closed:
            connection.hold(False)
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """End what is idle; running answers go on."""
        self._closed = True
        for connection in self._idle:
            connection.close()
        self._idle.clear()
