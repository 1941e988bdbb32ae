"""One request while it passes, by ASGI's messages: who sent it, its body within bounds, its answer.

    exchange = HttpExchange(scope, receive, send)
    body = await exchange.read_body(limit_bytes, timeout_s)
    exchange.replay(body);  await app(scope, exchange.receive, exchange.send)

Each server derives its own, which knows what else is asked and told of a request.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any

from quantserve.core.http.admission import UnreadBodies
from quantserve.core.http.refusal import Headers, Refusal, body_too_large, body_too_slow

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

REQUEST_ID = b"x-request-id"
_PLAIN_ID = re.compile(rb"[A-Za-z0-9._:\-]{1,128}")
_CONTENT_LENGTH = b"content-length"
_LENGTH_DIGITS = 18
_DRAINED_BYTES = 1 << 20
_DRAINED_S = 2.0
CLIENT_LEFT_STATUS = 499
"""Status in a log of a request whose client left first; nginx's number, never sent."""


class ClientLeft(Exception):
    """The connection ended before the body was whole, or while nobody took the answer."""


class HttpExchange:
    """Reads the request and writes the answer. `receive` and `send` may be given to an app."""

    __slots__ = (
        "_receive",
        "_replayed",
        "_send",
        "client",
        "complete",
        "disconnected",
        "head",
        "headers",
        "is_whole",
        "pairs",
        "received_bytes",
        "request_id",
        "start",
        "status",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take the request's id from the client if it is a plain one, else make one; the app sees it, too."""
        self.start = perf_counter()
        self._receive = receive
        self._send = send
        self.pairs: Headers = scope["headers"]
        """The headers as they came."""
        # Of two equal headers the first counts, as it does in the app.
        self.headers: dict[bytes, bytes] = dict(reversed(self.pairs))
        given = self.headers.get(REQUEST_ID)
        if given is not None and _PLAIN_ID.fullmatch(given):
            self.request_id = given
        else:
            self.request_id = os.urandom(16).hex().encode()
            scope["headers"] = [
                *(pair for pair in scope["headers"] if pair[0] != REQUEST_ID),
                (REQUEST_ID, self.request_id),
            ]
        client = scope.get("client")
        self.client: str | None = client[0] if client else None
        self.head = scope.get("method") == "HEAD"
        """Everything of an answer but its body."""
        self.status: int | None = None
        self.is_whole = False
        """Whether the last of the request's body has come."""
        self.received_bytes = 0
        self.complete = False
        """Whether the last of the answer is sent."""
        self.disconnected = False
        self._replayed: bytes | None = None

    def _piece_of(self, message: Message) -> bytes:
        """Return the piece of the body that a message brings.

        Raises:
            ClientLeft: it brings none, the connection ended.
        """
        if message["type"] == "http.disconnect":
            raise ClientLeft
        piece: bytes = message.get("body", b"")
        self.received_bytes += len(piece)
        self.is_whole = not message.get("more_body", False)
        return piece

    async def read_body(
        self, limit_bytes: int, timeout_s: float, unread: UnreadBodies | None = None, owner: str = ""
    ) -> bytes:
        """Read the whole body, within its bounds of size and time; `unread` bounds how many are on their way.

        Raises:
            Refusal: 413, it is longer than `limit_bytes`; 408, it does not come in time, or too many others
                are on their way.
            ClientLeft: the connection ended first.
        """
        length = self.headers.get(_CONTENT_LENGTH)
        if length is not None and (
            not length.isdigit() or len(length) > _LENGTH_DIGITS or int(length) > limit_bytes
        ):
            raise body_too_large(limit_bytes)
        try:
            async with asyncio.timeout(timeout_s) as timer:
                if unread is None:
                    return await self._read(limit_bytes)
                with unread.counted(timer, owner):
                    return await self._read(limit_bytes)
        except TimeoutError as error:
            raise body_too_slow(self.received_bytes) from error

    async def _read(self, limit_bytes: int) -> bytes:
        chunks: list[bytes] = []
        while not self.is_whole:
            chunks.append(self._piece_of(await self._receive()))
            if self.received_bytes > limit_bytes:
                raise body_too_large(limit_bytes)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def read_piece(self, timeout_s: float, least_bytes_s: int) -> Message:
        """Return the next piece of a large body, or that the connection ended; then what comes after it.

        Raises:
            Refusal: 408, it does not come within `timeout_s`, or after that time all of it came more slowly
                than `least_bytes_s` bytes a second.
        """
        if self.is_whole:
            return await self._receive()
        try:
            async with asyncio.timeout(timeout_s):
                message = await self._receive()
            self._piece_of(message)
        except TimeoutError as error:
            raise body_too_slow(self.received_bytes) from error
        except ClientLeft:
            return message
        late_s = perf_counter() - self.start - timeout_s
        if not self.is_whole and late_s > 0 and self.received_bytes < late_s * least_bytes_s:
            raise body_too_slow(self.received_bytes)
        return message

    async def drain(self, most_bytes: int = _DRAINED_BYTES, timeout_s: float = _DRAINED_S) -> None:
        """Take what is still coming of a body that nobody wants, within bounds.

        A connection that is closed with bytes unread is reset, and the client would lose the answer.
        """
        most_bytes += self.received_bytes
        try:
            async with asyncio.timeout(timeout_s):
                while not self.is_whole and self.received_bytes < most_bytes:
                    self._piece_of(await self._receive())
        except (TimeoutError, ClientLeft):
            return

    def replay(self, body: bytes) -> None:
        """Have the app read this body; what comes after it is the connection's own news."""
        self._replayed = body

    async def receive(self) -> Message:
        """Give the app the body once, then whatever the server says, so that it hears of a disconnect."""
        if self._replayed is not None:
            body, self._replayed = self._replayed, None
            return {"type": "http.request", "body": body, "more_body": False}
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self.complete:
            self.disconnected = True
        return message

    def own_headers(self) -> Headers:
        """Return what every answer has."""
        return [(REQUEST_ID, self.request_id)]

    async def answer(self, status: int, headers: Headers, body: bytes, *, close: bool = False) -> None:
        """Answer in the app's place; `close`: the connection ends, whatever is unread of the body."""
        self.status = status
        headers = [*headers, *self.own_headers(), (_CONTENT_LENGTH, str(len(body)).encode())]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send_last(b"" if self.head else body, drain=close)
        self.complete = True

    async def _send_last(self, body: bytes, *, drain: bool) -> None:
        """Send the last of an answer; where the request's body is to be drained, take that before the end."""
        if drain and self._has_more():
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
            await self.drain()
            body = b""
        await self._send({"type": "http.response.body", "body": body})

    def _has_more(self) -> bool:
        """Whether some of the request's body may still come."""
        length = self.headers.get(_CONTENT_LENGTH)
        return not self.is_whole and (b"transfer-encoding" in self.headers or length not in (None, b"0"))

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal."""
        await self.answer(refusal.status, refusal.headers(), refusal.body(), close=refusal.close)
