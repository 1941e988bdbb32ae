"""Connections of a server run by uvicorn: how many, how many of one machine, and each with its head in time.

    uvicorn.Config(app, http=bounded_protocol(Connections(bounds)))

What uvicorn's faster parser leaves open: a connection that sends nothing, half a head, or a head without end
is none of the application's business, and would hold memory and a place of a server that nobody has shown a
key to.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from quantserve.core.http.origin import is_loopback
from quantserve.core.http.refusal import Refusal

_LINGER_S = 1.0
"""What is still coming is taken for so long: closed with bytes unread, the connection would be reset, and the
client would lose the answer."""
_RETRY_S = 2
ABORT = "quantserve.abort"
"""Extension of the scope: a function that ends the connection at once, whatever waits to be sent."""


@dataclass(frozen=True)
class ConnectionBounds:
    """What connections may take; None: no bound."""

    max_header_bytes: int
    """First line and headers of a request."""
    header_timeout_s: float
    """From the connection, or the beginning of a next head, to its end."""
    max_connections: int | None = None
    """One more ends the oldest that has no request."""
    max_connections_per_address: int | None = None
    """Of one other machine; a proxy on this machine is everybody, so addresses of this one have no share."""


class Connections:
    """Those of one server."""

    def __init__(self, bounds: ConnectionBounds) -> None:
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
        most, share, address = (
            self.bounds.max_connections,
            self.bounds.max_connections_per_address,
            connection.address,
        )
        is_foreign = bool(address) and not is_loopback(address)
        if share is not None and is_foreign and self._by_address[address] >= share:
            return _too_many(f"{share} connections of one address are the most")
        if most is not None and len(self._open) >= most:
            oldest = next(iter(self._idle), None)
            if oldest is None:
                return _too_many(f"{most} connections are open, no more are taken; try again")
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
    return Refusal(429, "too_many_connections", message, retry_after_s=_RETRY_S, close=True)


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with bounds; `bounded_protocol` binds it to a server's connections."""

    registry: Connections

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """As uvicorn makes it."""
        super().__init__(*arguments, **named)
        self.address = ""
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = True
        self._has_begun = False
        """Whether something of a head has come."""
        self._is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a first head, unless there are too many.

        uvicorn's own clock runs between requests only.
        """
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        refusal = self.registry.enter(self)
        if refusal is not None:
            self._refuse(refusal)
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._unwatch()
        self.registry.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head."""
        if self._is_refused or self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
            self._watch()  # also where a blank line comes, with which no message begins
        super().data_received(data)
        most = self.registry.bounds.max_header_bytes
        if self._in_head and self._head_bytes > most:
            self._refuse(Refusal(431, "headers_too_large", f"the headers are larger than {most:,} bytes"))

    def on_message_begin(self) -> None:
        """A head begins; give the application a way to end the connection."""
        super().on_message_begin()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]  # ASGI lets a server add its own
        scope["extensions"] = {ABORT: self.transport.abort}
        self._in_head = self._has_begun = True
        self._watch()

    def on_headers_complete(self) -> None:
        """A head is whole, a request has begun."""
        self._in_head = self._has_begun = False
        self._head_bytes = 0
        self._unwatch()
        self.registry.busy(self)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What comes next is another head."""
        super().on_message_complete()
        self._in_head = True

    def on_response_complete(self) -> None:
        """A request has ended; where no next one has come, the connection is idle."""
        is_last = not self.pipeline
        super().on_response_complete()
        if is_last and not self.transport.is_closing():
            self.registry.idle(self)

    def handle_websocket_upgrade(self) -> None:
        """Leave the connection to the protocol that takes it over."""
        self.registry.leave(self)
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the shape of all errors."""
        self._refuse(Refusal(400, "invalid_http", msg))

    def _watch(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.registry.bounds.header_timeout_s, self._is_late)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _is_late(self) -> None:
        self._deadline = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._watch()  # a next request's head, while the answer to the last one is on its way
        elif self._has_begun:
            seconds = self.registry.bounds.header_timeout_s
            self._refuse(Refusal(408, "header_timeout", f"the headers did not come within {seconds:g} s"))
        else:  # nothing was asked, and a request that is just coming would take an answer for its own
            self.transport.abort()

    def _refuse(self, refusal: Refusal) -> None:
        """Answer before there is a request, and close."""
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        self._unwatch()
        body = refusal.body()
        length = (b"content-length", str(len(body)).encode())
        refusal.close = True
        lines = b"".join(b"%b: %b\r\n" % pair for pair in [*refusal.headers(), length])
        self.transport.write(STATUS_LINE[refusal.status] + lines + b"\r\n" + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._deadline = self.loop.call_later(_LINGER_S, self.transport.abort)


def bounded_protocol(connections: Connections) -> type[BoundedProtocol]:
    """Return the protocol of one server."""
    return type("ServerProtocol", (BoundedProtocol,), {"registry": connections})
