"""What every request passes before a route sees it: id, origin, key, size, room; and its noting after."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.origin import WHY, foreign
from rag.server.config import Bounds
from rag.server.exchange import Exchange, request_id_of
from rag.server.keys import KeyRing
from rag.server.refusal import Refusal
from rag.server.tickets import Tickets

OPEN = frozenset({"/", "/healthz", "/readyz", "/favicon.ico"})
"""Reachable without a key: health, and the page itself, which holds nothing before a key is given."""
_OPEN_BELOW = "/static/"
_BOUNDED = frozenset({"/v1/chat/completions", "/search"})
_UPLOAD = "/documents"
_RETRY_S = 2
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass
class Room:
    """Questions and searches in flight."""

    most: int
    taken: int = 0


class Gate:
    """An ASGI middleware; `done` hears of every request when it has ended."""

    def __init__(
        self,
        app: ASGIApp,
        bounds: Bounds,
        keys: KeyRing | None,
        tickets: Tickets,
        room: Room,
        done: Callable[[Exchange], None],
    ) -> None:
        """Without `keys` everybody on this machine may ask, and nobody through another site's page."""
        self._app, self._bounds, self._keys, self._room, self._done = app, bounds, keys, room, done
        self._tickets = tickets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        exchange = Exchange(
            scope["method"], scope["path"], request_id_of(headers.get("x-request-id")), headers
        )
        scope["quantserve"] = exchange
        sender = _Sender(send, exchange)
        is_bounded = scope["path"] in _BOUNDED
        has_room = False
        try:
            self._admit(exchange, headers, QueryParams(scope["query_string"]).get("ticket", ""))
            if is_bounded:
                self._take()
                has_room = True
            if not (scope["path"] == _UPLOAD and scope["method"] == "POST"):
                receive = await self._bounded(headers, receive)
            await self._app(scope, receive, sender)
        except Refusal as refusal:
            exchange.reason = refusal.code
            await sender.refuse(refusal)
        except _ClientLeft:
            exchange.reason = "client_left"
        finally:
            if has_room:
                self._room.taken -= 1
            route = scope.get("route")
            exchange.route = getattr(route, "path", "") if route is not None else ""
            exchange.seconds = time.perf_counter() - exchange.started
            self._done(exchange)

    def _admit(self, exchange: Exchange, headers: Headers, ticket: str) -> None:
        path = exchange.path
        if self._keys is None:
            _check_origin(headers)
            return
        if path in OPEN or path.startswith(_OPEN_BELOW) or self._tickets.allows(path, ticket):
            return
        kind, _, presented = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not presented:
            raise Refusal(401, "no_key", "a key is needed: Authorization: Bearer rag-…")
        key = self._keys.find(presented.strip())
        if key is None:
            raise Refusal(401, "wrong_key", "the key is not known here")
        exchange.key = key.id

    def _take(self) -> None:
        if self._room.taken >= self._room.most:
            raise Refusal(
                429,
                "too_many_requests",
                f"{self._room.most} questions are in flight, no more are taken; try again",
                retry_after_s=_RETRY_S,
            )
        self._room.taken += 1

    async def _bounded(self, headers: Headers, receive: Receive) -> Receive:
        """Read the body, which is small, and hand it on as it came."""
        most = self._bounds.max_body_bytes
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > most:
            raise _too_large(most)
        body = b""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _ClientLeft
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > most:
                raise _too_large(most)
        replayed = False

        async def again() -> Message:
            nonlocal replayed
            if not replayed:
                replayed = True
                return {"type": "http.request", "body": body, "more_body": False}
            return await receive()

        return again


class _ClientLeft(Exception):
    """The connection ended before the body was whole."""


class _Sender:
    """Sends on, with our headers, and notes the status."""

    def __init__(self, send: Send, exchange: Exchange) -> None:
        self._send, self._exchange = send, exchange
        self._started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            self._exchange.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self._exchange.request_id
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with the refusal; the connection ends, since its body was not read."""
        if self._started:
            return
        body = json.dumps(refusal.body(), ensure_ascii=False).encode()
        headers = {"content-type": "application/json", "connection": "close", **refusal.headers()}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self({"type": "http.response.start", "status": refusal.status, "headers": raw})
        await self({"type": "http.response.body", "body": body})


def _too_large(most: int) -> Refusal:
    return Refusal(413, "body_too_large", f"the body is larger than {most:,} bytes")


def _check_origin(headers: Headers) -> None:
    """Refuse what another site's page sends to this machine (cross-site requests, DNS rebinding).

    Raises:
        Refusal: 403.
    """
    why = foreign(headers.get("host", ""), headers.get("origin"))
    if why is not None:
        raise Refusal(403, why, WHY[why])
