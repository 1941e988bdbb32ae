"""Connections: so many, so many of one machine, and each with its headers in time.

What uvicorn leaves open: a connection that sends nothing, half a header, or headers without end is none of
the application's business, and would be held for ever.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from quantserve.core.origin import is_loopback
from quantserve.rag.server.config import Bounds
from quantserve.rag.server.refusal import Refusal

_LINGER_S = 1.0
ABORT = "quantserve.abort"
"""Extension of the scope: a function that ends the connection at once, whatever waits to be sent."""


class Connections:
    """Those of one server."""

    def __init__(self, bounds: Bounds) -> None:
        """There is none."""
        self.bounds = bounds
        self._idle: dict[BoundedProtocol, None] = {}
        """Connections without a request, the oldest first."""
        self._open: set[BoundedProtocol] = set()
        self._by_address = Counter[str]()

    @property
    def open(self) -> int:
        """Open connections."""
        return len(self._open)

    def enter(self, connection: BoundedProtocol) -> Refusal | None:
        """Take a connection up, or say why it is not."""
        bounds, address = self.bounds, connection.address
        is_foreign = bool(address) and not is_loopback(address)
        if is_foreign and self._by_address[address] >= bounds.max_connections_per_address:
            return _too_many(f"{bounds.max_connections_per_address} connections of one address are the most")
        if len(self._open) >= bounds.max_connections:
            oldest = next(iter(self._idle), None)
            if oldest is None:
                return _too_many(
                    f"{bounds.max_connections} connections are open, no more are taken; try again"
                )
            self.leave(oldest)
            oldest.transport.abort()
        self._open.add(connection)
        self._by_address[address] += 1
        self.idle(connection)
        return None

    def idle(self, connection: BoundedProtocol) -> None:
        """Note that a connection has no request (any more)."""
        if connection in self._open:
            self._idle.pop(connection, None)
            self._idle[connection] = None

    def busy(self, connection: BoundedProtocol) -> None:
        """Note that a connection's request has begun."""
        self._idle.pop(connection, None)

    def leave(self, connection: BoundedProtocol) -> None:
        """Note that a connection is closed."""
        self._idle.pop(connection, None)
        if connection in self._open:
            self._open.remove(connection)
            self._by_address[connection.address] -= 1
            if not self._by_address[connection.address]:
                del self._by_address[connection.address]


def _too_many(message: str) -> Refusal:
    return Refusal(429, "too_many_connections", message, retry_after_s=2)


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with bounds; `bounded_protocol` binds it to a server's connections."""

    limits: Connections

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """As uvicorn makes it."""
        super().__init__(*arguments, **named)
        self.address = ""
        self._timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._reads_head = True
        self._is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, unless there are too many."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        refusal = self.limits.enter(self)
        if refusal is not None:
            self._refuse(refusal)
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_timer()
        self.limits.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes while headers are read."""
        if self._is_refused or self.transport.is_closing():
            return
        super().data_received(data)
        if self._reads_head and not self._is_refused:
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.bounds.max_header_bytes:
                most = self.limits.bounds.max_header_bytes
                self._refuse(Refusal(431, "headers_too_large", f"the headers are larger than {most:,} bytes"))

    def on_message_begin(self) -> None:
        """Give the application a way to end the connection."""
        super().on_message_begin()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]  # ASGI lets a server add its own
        scope["extensions"] = {ABORT: self.transport.abort}

    def on_headers_complete(self) -> None:
        """A request has begun."""
        self._reads_head = False
        self._stop_timer()
        self.limits.busy(self)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """A request has ended; the next one's headers have their time again."""
        is_last = not self.pipeline
        super().on_response_complete()
        if is_last and not self.transport.is_closing():
            self._await_head()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the shape of all errors."""
        self._refuse(Refusal(400, "invalid_http", msg))

    def _await_head(self) -> None:
        self._stop_timer()
        self._head_bytes, self._reads_head = 0, True
        self.limits.idle(self)
        self._timer = self.loop.call_later(self.limits.bounds.header_timeout_s, self._is_late)

    def _is_late(self) -> None:
        if self._head_bytes:
            seconds = self.limits.bounds.header_timeout_s
            self._refuse(Refusal(408, "header_timeout", f"the headers did not arrive within {seconds:g} s"))
        else:
            self.transport.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, refusal: Refusal) -> None:
        """Answer before there is a request, and close.

        What is still coming is taken for a moment: closed with bytes unread, the connection would be reset,
        and the client would lose the answer.
        """
        self._stop_timer()
        self._is_refused = True
        body = json.dumps(refusal.body(), ensure_ascii=False).encode()
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
            **refusal.headers(),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(STATUS_LINE[refusal.status] + lines.encode("latin-1") + b"\r\n" + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(_LINGER_S, self.transport.abort)


def bounded_protocol(connections: Connections) -> type[BoundedProtocol]:
    """Return the protocol of one server."""
    return type("ServerProtocol", (BoundedProtocol,), {"limits": connections})
