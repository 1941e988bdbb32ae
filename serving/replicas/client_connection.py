"""One client's connection: whole requests are read off it, within bounds, and answers written back.

A protocol of its own over httptools (the parser of uvicorn, which a server alone has), because it writes a
replica's answer on as it comes: through uvicorn and ASGI a request took twice the time. Bodies are read
whole, since they may have to be sent again, and not decompressed: their encoding is between the client and
the guard. What is no HTTP gets OpenAI's error object and ends the connection.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol, cast

import httptools

from quantserve.core.http.refusal import Refusal, body_too_large
from quantserve.serving.guard.request.limits import RequestLimits
from quantserve.serving.replicas.client_request import (
    ClientRequest,
    head_too_large,
    is_short,
    require_acceptable_body,
    require_sound,
)
from quantserve.serving.replicas.upstream import AnswerCut, HeaderList, ReplicaConnection

_LOG = logging.getLogger(__name__)
_IDLE_S = 75.0
"""Time a connection without a request is kept; nginx's default."""
_LINGER_S = 1.0
"""What is still coming after a refusal is taken for so long: closed with bytes unread, the connection would
be reset, and the client would lose the answer."""
_RETRY_AFTER_S = 2
_STATUS_LINES = {each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n".encode() for each in HTTPStatus}
_NOT_PASSED = frozenset((b"connection", b"keep-alive"))
"""An answer's headers of one hop. How its body is framed stays, as the body does."""
_OFFER = frozenset((b"connection", b"upgrade", b"http2-settings"))
_NOTHING = ClientRequest()


class ClientApp(Protocol):
    """Who answers.

    `admit` looks at a head and says how long its body may be, or raises Refusal. `answer` answers the whole
    request by the client's `write_answer`, or by `begin` and `end`, or raises Refusal or AnswerCut.
    """

    def admit(self, request: ClientRequest) -> None: ...  # noqa: D102
    async def answer(self, request: ClientRequest, client: ClientConnection) -> None: ...  # noqa: D102


@dataclass
class PortState:
    """What the connections of one port share."""

    app: ClientApp
    limits: RequestLimits
    most_held_bytes: int
    """Of the bodies of all requests that run or wait."""
    held_bytes: int = 0
    connections: set[ClientConnection] = field(default_factory=set)
    closing: bool = False


class ClientConnection(asyncio.Protocol):
    """One client's connection. One request is answered at a time; others wait in the order they came."""

    def __init__(self, port: PortState) -> None:
        """Made by the event loop."""
        self._port = port
        self._parser = httptools.HttpRequestParser(self)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)  # the connection ends anyway
        self._reading: ClientRequest | None = None
        self._in_head = True
        self._head_bytes = 0
        self._waiting: deque[ClientRequest] = deque()
        self._task: asyncio.Task[None] | None = None
        self._answered = _NOTHING
        self._source: ReplicaConnection | None = None
        self._full = False
        self._offered = False
        self._deaf = False
        """Nothing more is read: the connection ends once what waits is answered."""
        self._served = False
        self.address: str | None = None
        self.deadline: float | None = None
        """When more must have come, on the monotonic clock."""

    # called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a first head."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if isinstance(peer, tuple) else None
        self._port.connections.add(self)
        self._expect_within(self._port.limits.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up what is done for a client that is gone."""
        self._port.connections.discard(self)
        self._deaf = True
        self._drop()
        self._port.held_bytes -= self._answered.size
        self._answered.size = 0
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Read on, unless a request is being answered."""
        if self._deaf:
            return
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._without_upgrade(data[offer.args[0] :])
        except httptools.HttpParserError as error:
            wrong = Refusal(400, "invalid_http", "the request is not valid HTTP", close=True)
            self._refuse(error.__context__ if isinstance(error.__context__, Refusal) else wrong)
        if self._in_head and self._head_bytes > self._port.limits.max_header_bytes:
            self._refuse(head_too_large(self._port.limits))

    def pause_writing(self) -> None:
        """Make the replica wait for a client that reads slowly."""
        self._hold(True)

    def resume_writing(self) -> None:
        """Let it go on."""
        self._hold(False)

    def _hold(self, held: bool) -> None:
        self._full = held
        if self._source is not None:
            self._source.hold(held)

    # called by the parser

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._reading = ClientRequest()
        self._in_head = True
        self._expect_within(self._port.limits.header_timeout_s)

    def on_url(self, url: bytes) -> None:
        """Keep what is asked for, or a part of it."""
        if self._reading is not None:
            self._reading.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; what follows a body in chunks (a trailer) is none."""
        if self._reading is not None and self._in_head:
            self._reading.raw_headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Have the app look at the head.

        Raises:
            Refusal: taken by the parser, which gives up.
        """
        request = self._reading
        if request is None:
            return
        self._in_head, self._head_bytes = False, 0
        request.method = self._parser.get_method().decode()
        self._offered = self._parser.should_upgrade() and request.method != "CONNECT"
        if self._offered:
            return
        request.version = self._parser.get_http_version()
        request.keep_alive = request.version != "1.0" and self._parser.should_keep_alive()
        request.headers = dict(reversed(request.raw_headers))
        require_sound(request, self._port.limits)
        try:
            self._port.app.admit(request)
        except Refusal as refusal:
            if refusal.close or not is_short(request):
                raise
            request.refusal, request.most_body_bytes = refusal, 0
            return
        require_acceptable_body(request)
        self._expect_within(self._port.limits.body_timeout_s)
        if request.headers.get(b"expect") and self._task is None and not self._waiting:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body.

        Raises:
            Refusal: it is too long, or there are too many at once; taken by the parser, which gives up.
        """
        request, port = self._reading, self._port
        if request is None or not request.most_body_bytes:
            return
        request.pieces.append(body)
        request.size += len(body)
        port.held_bytes += len(body)
        if request.size > request.most_body_bytes:
            raise body_too_large(request.most_body_bytes)
        if port.held_bytes > port.most_held_bytes:
            message = "too many large requests at once"
            raise Refusal(429, "queue_full", message, retry_after_s=_RETRY_AFTER_S, close=True)

    def on_message_complete(self) -> None:
        """Have it answered in its turn."""
        if self._offered:
            return
        request, self._reading, self._in_head = self._reading, None, True
        if request is not None:
            request.body = request.pieces[0] if len(request.pieces) == 1 else b"".join(request.pieces)
            self._waiting.append(request)
            self._next()
            if self._waiting:
                self._transport.pause_reading()

    def _without_upgrade(self, rest: bytes) -> None:
        """Read a request again without its offer of HTTP/2, with which the parser drops the body."""
        request = self._reading
        if request is None or not self._offered:
            self._deaf = True  # after CONNECT nothing is HTTP
            return
        lines = [b"%b %b HTTP/1.1" % (request.method.encode(), request.target)]
        lines += [b"%b: %b" % pair for pair in request.raw_headers if pair[0] not in _OFFER]
        self._parser, self._offered = httptools.HttpRequestParser(self), False
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    # one request after another

    def _expect_within(self, seconds: float) -> None:
        if self._task is None:
            self.deadline = time.monotonic() + seconds

    def _next(self) -> None:
        if self._task is None and self._waiting:
            self.deadline = None
            self._answered = self._waiting.popleft()
            self._task = asyncio.get_running_loop().create_task(self._answer(self._answered))

    async def _answer(self, request: ClientRequest) -> None:
        try:
            if request.refusal is not None:
                raise request.refusal
            await self._port.app.answer(request, self)
        except Refusal as refusal:
            self._write_refusal(refusal)
        except AnswerCut:
            self._transport.close()  # HTTP's way to say that the rest will not come
        except Exception:  # noqa: BLE001  the log has it, the client the shape of all errors
            _LOG.exception("a request failed")
            if self._source is not None:
                self._transport.close()
            else:
                failed = "the server failed at this request"
                self._write_refusal(Refusal(500, "internal_error", failed, close=True))
        self._go_on()

    def _go_on(self) -> None:
        """Take what came meanwhile, or wait for the next request."""
        self._port.held_bytes -= self._answered.size
        self._task, self._answered, self._served = None, _NOTHING, True
        if self._transport.is_closing():
            self._drop()
        elif self._waiting:
            self._next()
        elif not self._deaf:
            self._transport.resume_reading()
            self._expect_within(_IDLE_S if self._reading is None else self._port.limits.body_timeout_s)

    def _drop(self) -> None:
        """Forget what was not answered."""
        for request in (*self._waiting, self._reading):
            if request is not None:
                self._port.held_bytes -= request.size
        self._waiting.clear()
        self._reading = None

    def _refuse(self, refusal: Refusal) -> None:
        """Read no more, and refuse what is being read in its turn."""
        if self._deaf:
            return
        self._deaf = True
        request, self._reading = self._reading or ClientRequest(), None
        request.refusal = refusal
        self._waiting.append(request)
        self._next()

    def late(self) -> None:
        """Refuse a request that does not come, and end a connection that is idle or was refused."""
        self.deadline = None
        limits = self._port.limits
        if self._deaf:
            self._transport.abort()
        elif self._task is not None:
            return
        elif not self._in_head:
            message = f"the body did not come within {limits.body_timeout_s:g} s"
            self._refuse(Refusal(408, "body_timeout", message, close=True))
        elif self._reading is None and self._served and not self._head_bytes:
            self._transport.close()
        else:
            message = f"the headers did not come within {limits.header_timeout_s:g} s"
            self._refuse(Refusal(408, "header_timeout", message, close=True))

    def close(self, *, at_once: bool) -> None:
        """End it; unless at once, a request that is answered is its last."""
        if at_once:
            self._transport.abort()
        elif self._task is None:
            self._transport.close()

    # answers

    def write_answer(self, status: int, headers: HeaderList, body: bytes) -> None:
        """Write a whole answer."""
        length = (b"content-length", b"%d" % len(body))
        self._write_head(status, [*headers, length], b"" if self._answered.method == "HEAD" else body)
        self.end()

    def begin(self, answer: ReplicaConnection, early: bytes) -> Callable[[bytes], object]:
        """Write the head of a replica's answer; return where its body is written. Then call `end`."""
        self._answered.keep_alive &= answer.framed
        self._source = answer
        if self._full:
            answer.hold(True)
        headers = [pair for pair in answer.headers if pair[0] not in _NOT_PASSED]
        self._write_head(answer.status, headers, early)
        return self._transport.write

    def end(self) -> None:
        """End an answer, and the connection where it was the last."""
        self._source = None
        if not self._answered.keep_alive or self._port.closing:
            self._transport.close()

    def _write_refusal(self, refusal: Refusal) -> None:
        if not refusal.close:
            self.write_answer(refusal.status, refusal.headers(), refusal.body())
            return
        self._deaf = True
        headers = [pair for pair in refusal.headers() if pair[0] != b"connection"]
        body, self._answered.keep_alive = refusal.body(), False
        self._write_head(refusal.status, [*headers, (b"content-length", b"%d" % len(body))], body)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self.deadline = time.monotonic() + _LINGER_S

    def _write_head(self, status: int, headers: HeaderList, body: bytes) -> None:
        if self._port.closing or (self._deaf and not self._waiting):
            self._answered.keep_alive = False
        lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status]
        lines += [b"%b: %b\r\n" % pair for pair in headers]
        if not self._answered.keep_alive:
            lines.append(b"connection: close\r\n")
        self._transport.write(b"".join([*lines, b"\r\n", body]))
