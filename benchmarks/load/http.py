"""HTTP/1.1 on asyncio, just enough to stamp the arrival of each piece of a response body.

General clients cost 100 to 300 µs a request and hide when bytes arrived. Parsing itself is
httptools' (llhttp, the parser of Node.js); only connections, keep-alive and stamps are here.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
from time import perf_counter
from typing import Any, cast
from urllib.parse import urlsplit

import httptools

from quantserve.benchmarks.errors import BadOption
from quantserve.benchmarks.records import Failure


@dataclasses.dataclass(slots=True)
class HttpReply:
    """A response as it arrived. Times are raw perf_counter seconds."""

    sent_s: float
    status: int | None = None
    first_byte_s: float | None = None
    done_s: float | None = None
    parts: list[tuple[float, bytes]] = dataclasses.field(default_factory=list)
    failure: Failure | None = None
    detail: str = ""


class _LoadConnection(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._reply: HttpReply | None = None
        self._ended: asyncio.Future[None] | None = None
        self._now = 0.0
        self._complete = False
        self.reusable = True
        self.used = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._now = perf_counter()
        reply = self._reply
        if reply is None:
            self.close()
            return
        if reply.first_byte_s is None:
            reply.first_byte_s = self._now
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(Failure.MALFORMED, f"not HTTP: {error}")
            self.close()
            return
        if self._complete:
            self._end(None, "")
            if not self.reusable:
                self.close()

    def on_body(self, body: bytes) -> None:
        if self._reply is not None:
            self._reply.parts.append((self._now, body))

    def on_message_complete(self) -> None:
        self._complete = True
        # Only now: once this returns the parser has forgotten the headers and would say no.
        self.reusable = bool(self._parser.should_keep_alive())

    def connection_lost(self, error: Exception | None) -> None:
        self.reusable = False
        if self._reply is not None:
            self._now = perf_counter()
            self._end(Failure.DISCONNECTED, str(error) if error else "the server closed the connection")

    def _end(self, failure: Failure | None, detail: str) -> None:
        reply, ended = self._reply, self._ended
        if reply is None or ended is None:
            return
        if reply.first_byte_s is not None and self._complete:
            reply.status = self._parser.get_status_code()
        reply.done_s, reply.failure, reply.detail = self._now, failure, detail
        self._reply = self._ended = None
        if not ended.done():
            ended.set_result(None)

    async def exchange(self, request: bytes, reply: HttpReply, timeout_s: float) -> None:
        """Send one request and wait for its whole response; the outcome is in `reply`."""
        if self._transport is None or self._transport.is_closing():
            reply.failure, reply.detail = Failure.DISCONNECTED, "the connection was closed while idle"
            self.reusable = False
            return
        self._reply, self._complete = reply, False
        self._ended = self._loop.create_future()
        if self.used:
            self._parser = httptools.HttpResponseParser(self)
        self.used = True
        timer = self._loop.call_later(timeout_s, self._time_out, timeout_s)
        try:
            self._transport.write(request)
            await self._ended
        finally:
            timer.cancel()
            if self._reply is not None:  # cancelled by the caller
                self._reply = self._ended = None
                self.close()

    def _time_out(self, timeout_s: float) -> None:
        self._now = perf_counter()
        self._end(Failure.TIMEOUT, f"no complete answer within {timeout_s:g} s")
        self.close()

    def close(self) -> None:
        """Drop the connection."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()


class Http:
    """POSTs to one path of one server over as many kept-alive connections as there are requests under way."""

    def __init__(self, base_url: str, path: str, headers: dict[str, str], timeout_s: float) -> None:
        """`base_url` may carry a path of its own, which `path` follows."""
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise BadOption(f"{base_url!r} is no HTTP address", mend="Give one like http://127.0.0.1:8000/v1")
        self._host = parts.hostname
        self._ssl = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._ssl else 80)
        self._timeout_s = timeout_s
        head = f"POST {parts.path.rstrip('/')}{path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._head = f"{head}Content-Type: application/json\r\nAccept: text/event-stream\r\n".encode()
        self._idle: list[_LoadConnection] = []
        self._loop = asyncio.get_running_loop()

    async def post(self, body: bytes, request_id: str = "") -> HttpReply:
        """Send `body` and return the reply; whatever happens is in the reply, nothing is raised.

        A kept-alive connection that the server closed before sending a byte is replaced once, as every
        keep-alive client must do; the time lost stays in the measurement.
        """
        request = b"%sX-Request-Id: %s\r\nContent-Length: %d\r\n\r\n%s" % (
            self._head,
            request_id.encode(),
            len(body),
            body,
        )
        reply = HttpReply(sent_s=perf_counter())
        while True:
            connection = self._take()
            reused = connection is not None
            if connection is None:
                connection = await self._connect(reply)
                if connection is None:
                    return reply
            await connection.exchange(request, reply, self._timeout_s)
            if connection.reusable:
                self._idle.append(connection)
            if reused and reply.failure is Failure.DISCONNECTED and reply.first_byte_s is None:
                reply.failure, reply.detail, reply.done_s = None, "", None
                continue
            return reply

    def _take(self) -> _LoadConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
        return None

    async def _connect(self, reply: HttpReply) -> _LoadConnection | None:
        try:
            async with asyncio.timeout(min(self._timeout_s, 30.0)):
                _, connection = await self._loop.create_connection(
                    lambda: _LoadConnection(self._loop), self._host, self._port, ssl=self._ssl
                )
        except TimeoutError:
            reply.failure, reply.detail = Failure.TIMEOUT, "no connection within the time limit"
        except OSError as error:
            reply.failure, reply.detail = Failure.REFUSED, str(error)
        else:
            return connection
        reply.done_s = perf_counter()
        return None

    def close(self) -> None:
        """Drop the idle connections."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()
