"""One request and its response: what the audit log wants to know of it, gathered while it passes."""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any

from quantserve.serving.guard.engine_errors import Context, translate
from quantserve.serving.guard.keys import Key
from quantserve.serving.guard.metering import Meter
from quantserve.serving.guard.rates import Reservation
from quantserve.serving.guard.refusal import Refusal
from quantserve.serving.guard.rules import Asked

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:\-]{1,128}")
_HEADER = b"x-request-id"
_CORS = b"access-control-"
_ERROR_STATUS = 400
_FAILED_STATUS = 500
_MOST_ERROR_BYTES = 1 << 20
_ERROR_EVENTS = (b'data: {"error"', b"event: error\n")
"""How an event begins by which the engine says in a stream that it gave the answer up."""
_DATA = b"data: "
_FAILED = b'{"error": {"message": "Internal server error"}}'


class ClientLeft(Exception):
    """The client closed the connection before its body was whole."""


class Exchange:
    """Hands messages on and remembers. `receive` and `send` are given to the app."""

    __slots__ = (
        "_body",
        "_error",
        "_receive",
        "_replaced",
        "_send",
        "_started",
        "allow_origin",
        "anthropic",
        "asked",
        "client",
        "complete",
        "context",
        "dead",
        "disconnected",
        "events",
        "first_s",
        "head",
        "headers",
        "key",
        "meter",
        "named_events",
        "prompt",
        "request_id",
        "reservation",
        "sequences",
        "start",
        "status",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take the request's id from the client if it is a plain one, else make one; the app sees it, too."""
        self.start = perf_counter()
        self._receive = receive
        self._send = send
        # Of two equal headers the first counts, as it does in the app.
        self.headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))
        given = self.headers.get(_HEADER)
        if given is not None and _REQUEST_ID.fullmatch(given):
            self.request_id = given
        else:
            self.request_id = uuid.uuid4().hex.encode()
            scope["headers"] = [
                *(pair for pair in scope["headers"] if pair[0] != _HEADER),
                (_HEADER, self.request_id),
            ]
        self._body: bytes | None = None
        self._error: bytearray | None = None
        """The body of an error of the engine's, until it is whole and can be put into our words."""
        self._started = False
        self._replaced = False
        self.dead: Callable[[], Refusal | None] | None = None
        """Asked when the app reports an error of its own: did the engine die under this request?"""
        self.asked: Asked | None = None
        self.key: Key | None = None
        self.prompt: dict[str, Any] | None = None
        """What was asked, where the operator wants it in the audit log."""
        self.sequences = 0
        self.meter = Meter()
        self.reservation: Reservation | None = None
        self.context: Context | None = None
        """What is known of the request where the engine's errors are put into our words."""
        self.head = False
        """HEAD: everything of an answer but its body."""
        self.anthropic = False
        self.named_events = False
        """Whether each event of a stream has a name, as those of /v1/responses."""
        self.allow_origin: bytes | None = None
        """The origin whose page may read the answer."""
        client = scope.get("client")
        self.client: str | None = client[0] if client else None
        self.status: int | None = None
        self.complete = False
        self.disconnected = False
        self.events = 0
        self.first_s: float | None = None

    @property
    def streaming(self) -> bool:
        """Whether the response is a stream of events."""
        return self.events > 0

    async def read_body(self, limit_bytes: int) -> bytes:
        """Read the whole body.

        Raises:
            Refusal: 413, it is longer than `limit_bytes`.
            ClientLeft: the connection ended first.
        """
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > limit_bytes:
                raise body_too_large(limit_bytes)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def replay(self, body: bytes) -> None:
        """Have the app read this body; what comes after it is the connection's own news."""
        self._body = body

    async def receive(self) -> Message:
        """Give the app the body once, then whatever the server says, so that it hears of a disconnect."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self.complete:
            self.disconnected = True
        return message

    async def send(self, message: Message) -> None:
        """Hand a message of the response on."""
        if self._replaced:
            return
        if message["type"] == "http.response.start":
            if message["status"] >= 500 and self.dead is not None:
                refusal = self.dead()
                if refusal is not None:
                    self._replaced = True
                    await self.refuse(refusal)
                    return
            self._begin(message)
            if message["status"] >= _ERROR_STATUS and self.context is not None:
                self._error = bytearray()
                return
        elif message["type"] == "http.response.body":
            if self._error is not None:
                await self._gather_error(message, self._error)
                return
            self._note(message)
            if self._started and message.get("body", b"").startswith(_ERROR_EVENTS):
                message = {**message, "body": self._event_in_our_words(message["body"])}
            if self.head:
                message = {**message, "body": b""}
        await self._send(message)

    def _begin(self, message: Message) -> None:
        self.status = message["status"]
        headers = [
            pair
            for pair in message.get("headers", ())
            if pair[0].lower() != _HEADER and not pair[0].lower().startswith(_CORS)
        ]
        for name, value in headers:
            if name.lower() == b"content-type" and value.startswith(b"text/event-stream"):
                self._started = True
        message["headers"] = [*headers, *self._own_headers()]

    def _own_headers(self) -> list[tuple[bytes, bytes]]:
        found = [(_HEADER, self.request_id)]
        if self.allow_origin is not None:
            found += [
                (b"access-control-allow-origin", self.allow_origin),
                (b"access-control-expose-headers", _HEADER),
                (b"vary", b"origin"),
            ]
        return found

    async def _gather_error(self, message: Message, gathered: bytearray) -> None:
        """Keep an error's body until it is whole; then say it in our words."""
        if len(gathered) < _MOST_ERROR_BYTES:
            gathered += message.get("body", b"")
        if message.get("more_body", False) or self.context is None or self.status is None:
            return
        self._error, self._replaced = None, True
        await self.refuse(translate(self.status, bytes(gathered), self.context))

    def _event_in_our_words(self, event: bytes) -> bytes:
        """Return an error in a stream as a refusal of ours would say it; the status has gone long ago."""
        first, _, rest = event.partition(b"\n\n")
        _, _, found = first.rpartition(_DATA)
        # What vLLM says in Anthropic's shape is how its own reading of the error failed.
        return self._event(_FAILED if self.anthropic else found) + b"\n\n" + rest

    def _event(self, error: bytes) -> bytes:
        if self.context is None:
            return _DATA + error
        refusal = translate(_FAILED_STATUS, error, self.context)
        name = b"event: error\n" if self.anthropic or self.named_events else b""
        return name + _DATA + refusal.body(anthropic=self.anthropic or self.named_events)

    async def break_off(self) -> None:
        """End a stream whose app failed in the middle by an event that says so, rather than by a cut line."""
        body = self._event(_FAILED) + b"\n\n"
        await self._send({"type": "http.response.body", "body": body, "more_body": False})
        self.complete = True

    def _note(self, message: Message) -> None:
        if not message.get("more_body", False):
            self.complete = True
        if self.first_s is None:
            self.first_s = perf_counter() - self.start
        if self._started:
            self.events += 1

    async def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Answer in the app's place."""
        self.status = status
        headers = [*headers, *self._own_headers(), (b"content-length", str(len(body)).encode())]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": b"" if self.head else body})
        self.complete = True

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal."""
        await self.answer(refusal.status, refusal.headers(), refusal.body(anthropic=self.anthropic))


def body_too_large(limit_bytes: int) -> Refusal:
    """Return the refusal of a long body; the rest of it is not read, so the connection ends."""
    return Refusal(413, "body_too_large", f"the body is longer than {limit_bytes} bytes", close=True)
