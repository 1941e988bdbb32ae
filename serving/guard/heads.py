"""Bounds on a request's head, which uvicorn's faster parser has none of: its bytes and the time it takes.

    uvicorn.Config(app, http=bounded_heads(limits))

The guard is asked once a head is whole. A head that grows without end, or never ends, would otherwise hold
memory and connections of a server that nobody has shown a key to.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from quantserve.serving.guard.refusal import Refusal
from quantserve.serving.guard.settings import Limits

_LINGER_S = 1.0
"""What is still coming is taken for so long: closed with bytes unread, the connection would be reset, and the
client would lose the answer."""


class BoundedHeads(HttpToolsProtocol):
    """One connection. From its first byte on, and after each request, it reads a head."""

    limits: Limits

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As uvicorn makes it."""
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_bytes = 0
        self._refused = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a first head; uvicorn's own clock runs between requests only."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head."""
        if self._refused:
            return
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        most = self.limits.max_header_bytes
        if self._in_head and self._head_bytes > most:
            self._refuse(Refusal(431, "headers_too_large", f"the headers are longer than {most} bytes"))

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._in_head = True
        self._watch()

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self._in_head, self._head_bytes = False, 0
        self._unwatch()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What comes next is another head."""
        super().on_message_complete()
        self._in_head = True

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the shape of all errors."""
        self._refuse(Refusal(400, "invalid_http", msg))

    def _watch(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.limits.header_timeout_s, self._late)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._watch()  # a next request's head, while the answer to the last one is on its way
            return
        seconds = self.limits.header_timeout_s
        self._refuse(Refusal(408, "header_timeout", f"the headers did not come within {seconds:g} s"))

    def _refuse(self, refusal: Refusal) -> None:
        """Answer before there is a request, and close."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._unwatch()
        body = refusal.body()
        headers = [
            *refusal.headers(),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        lines = b"".join(b"%b: %b\r\n" % pair for pair in headers)
        self.transport.write(STATUS_LINE[refusal.status] + lines + b"\r\n" + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._deadline = self.loop.call_later(_LINGER_S, self.transport.close)


def bounded_heads(limits: Limits) -> type[BoundedHeads]:
    """Return the protocol of one server."""
    return type("ServerProtocol", (BoundedHeads,), {"limits": limits})
