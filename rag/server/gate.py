"""What every request passes before a route sees it: id, origin, key, size, room; and its noting after."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quantserve.core.origin import WHY, foreign
from quantserve.rag.server.bodies import Bodies, Body, ClientLeft, too_large
from quantserve.rag.server.config import Bounds
from quantserve.rag.server.connections import ABORT
from quantserve.rag.server.exchange import Exchange, request_id_of
from quantserve.rag.server.keys import KeyRing
from quantserve.rag.server.refusal import Refusal
from quantserve.rag.server.shares import Room
from quantserve.rag.server.tickets import Tickets

OPEN = frozenset({"/", "/healthz", "/readyz", "/favicon.ico"})
"""Reachable without a key: health, and the page itself, which holds nothing before a key is given."""
_OPEN_BELOW = "/static/"
_BOUNDED = frozenset({"/v1/chat/completions", "/search"})
_UPLOAD = "/documents"
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Gate:
    """An ASGI middleware; `done` hears of every request when it has ended."""

    def __init__(
        self,
        app: ASGIApp,
        bounds: Bounds,
        keys: KeyRing | None,
        tickets: Tickets,
        room: Room,
        uploads: Room,
        done: Callable[[Exchange], None],
    ) -> None:
        """Without `keys` everybody on this machine may ask, and nobody through another site's page."""
        self._app, self._bounds, self._keys, self._done = app, bounds, keys, done
        self._room, self._uploads = room, uploads
        self._tickets = tickets
        self._bodies = Bodies(bounds)

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
        # Whatever can be got has a HEAD; uvicorn, which keeps the method of its own, sends no body.
        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        body = self._bodies.of(receive, (scope.get("client") or ("",))[0])
        sender = _Sender(send, exchange, body, self._bounds.send_timeout_s)
        try:
            self._admit(exchange, headers, QueryParams(scope["query_string"]).get("ticket", ""))
            body.client = exchange.key or body.client
            if scope["path"] == _UPLOAD and scope["method"] == "POST":
                with self._uploads.place(exchange.key):
                    await self._app(inner, body.piece, sender)
                return
            _check_length(headers, self._bounds.max_body_bytes)
            handed_on = await body.read(self._bounds.max_body_bytes)
            if scope["path"] in _BOUNDED:
                with self._room.place(exchange.key):
                    await self._app(inner, handed_on, sender)
            else:
                await self._app(inner, handed_on, sender)
        except Refusal as refusal:
            exchange.reason = refusal.code
            await sender.refuse(refusal)
        except ClientLeft:
            exchange.reason = "client_left"
        except Exception:
            if not sender.has_stalled:
                raise
            exchange.reason = "client_stalled"
            scope.get("extensions", {}).get(ABORT, lambda: None)()
        finally:
            route = inner.get("route")
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


class _Sender:
    """Sends on, with our headers, and notes the status; a client that takes nothing runs out of time."""

    def __init__(self, send: Send, exchange: Exchange, body: Body, timeout_s: float) -> None:
        self._send, self._exchange, self._body, self._timeout_s = send, exchange, body, timeout_s
        self._started = False
        self.has_stalled = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start(message)
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            await self._end(message)
            return
        await self._out(message)

    def _start(self, message: Message) -> None:
        self._started = True
        self._exchange.status = message["status"]
        headers = MutableHeaders(scope=message)
        headers["x-request-id"] = self._exchange.request_id
        for name, value in _HEADERS.items():
            headers.setdefault(name, value)
        headers.setdefault("Cache-Control", "no-store")
        if not self._body.is_whole:
            headers["connection"] = "close"

    async def _end(self, message: Message) -> None:
        """Send the last piece; where the request's body was not read, take that first, then close."""
        if not self._body.is_whole:
            await self._out({**message, "more_body": True})
            await self._body.drain()
            message = {"type": "http.response.body", "body": b""}
        await self._out(message)

    async def _out(self, message: Message) -> None:
        try:
            async with asyncio.timeout(self._timeout_s) as timer:
                await self._send(message)
        except TimeoutError:
            self.has_stalled = timer.expired()
            raise

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with the refusal."""
        if self._started:
            return
        body = json.dumps(refusal.body(), ensure_ascii=False).encode()
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            **refusal.headers(),
        }
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self({"type": "http.response.start", "status": refusal.status, "headers": raw})
        await self({"type": "http.response.body", "body": body})


def _check_length(headers: Headers, most: int) -> None:
    """Refuse a body that says itself that it is too large, before any of it is read."""
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > most:
        raise too_large(most)


def _check_origin(headers: Headers) -> None:
    """Refuse what another site's page sends to this machine (cross-site requests, DNS rebinding).

    Where a header comes twice, each must be ours: which of them others go by is not known here.

    Raises:
        Refusal: 403.
    """
    origins: list[str | None] = [*headers.getlist("origin")] or [None]
    for host in headers.getlist("host") or [""]:
        for origin in origins:
            why = foreign(host, origin)
            if why is not None:
                raise Refusal(403, why, WHY[why])
