"""What every request passes before a route sees it: id, origin, key, size, room; and its noting after.

Some addresses open one document's file for some minutes without a key, for a browser's own PDF viewer, which
cannot send an Authorization header (`Tickets`).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from starlette.datastructures import MutableHeaders
from starlette.requests import Request

from quantserve.core.http.admission import Places, UnreadBodies
from quantserve.core.http.connections import ABORT
from quantserve.core.http.exchange import (
    ASGIApp,
    ClientLeft,
    HttpExchange,
    Message,
    Receive,
    Scope,
    Send,
)
from quantserve.core.http.keys import KeyRing, presented_key, require_unexpired
from quantserve.core.http.origin import require_own
from quantserve.core.http.rates import RateLimits
from quantserve.core.http.refusal import Headers, Refusal
from quantserve.rag.server.config import Bounds
from quantserve.rag.server.live import Times

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
    "Cache-Control": "no-store",
}
_VALID_S = 300
_FILE = re.compile(r"/documents/([0-9a-f]{16})/file")
_TICKET = re.compile(r"(\d{1,12})-([0-9a-f]{64})")


@dataclass
class AnswerRecord:
    """What is written down of one answer or search; what is not known is None."""

    question_sha256: str
    passages: tuple[tuple[str, float], ...] = ()
    """Passage ids and scores, in order."""
    seconds: dict[str, float] = field(default_factory=dict)
    mode: str = ""
    language: str = ""
    model: str = ""
    generation: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached: str = ""
    judged: tuple[str, ...] = ()
    guard: str = ""
    invented_citations: int = 0
    notes: tuple[str, ...] = ()
    client_left: bool = False
    times: Times | None = None


class AnswerExchange(HttpExchange):
    """A request and what became of it: what log, metrics and spans will say of it.

    A client that takes nothing of its answer runs out of time.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, send_timeout_s: float) -> None:
        """Nothing is known yet but its id."""
        super().__init__(scope, receive, self._send_in_time)
        self._send_out, self._send_timeout_s = send, send_timeout_s
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.route = ""
        """The route's pattern, so that a metric's label has few values."""
        self.key = ""
        """Id of the key."""
        self.code = ""
        """Of the refusal or error."""
        self.record: AnswerRecord | None = None
        self.began_ns = time.time_ns()
        self.seconds = 0.0
        self.has_stalled = False

    @property
    def id(self) -> str:
        """The request's id."""
        return self.request_id.decode()

    async def _send_in_time(self, message: Message) -> None:
        try:
            async with asyncio.timeout(self._send_timeout_s) as timer:
                await self._send_out(message)
        except TimeoutError:
            self.has_stalled = timer.expired()
            raise

    async def send(self, message: Message) -> None:
        """Hand a message of the app's on, with our headers; where the request's body was not read, close."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self.id
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            if self._has_more():
                headers["connection"] = "close"
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            await self._send_last(message.get("body", b""), drain=True)
            self.complete = True
            return
        await self._send_in_time(message)

    def own_headers(self) -> Headers:
        """Return what every answer has."""
        ours = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
        return [*super().own_headers(), *ours]

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal, unless an answer has begun."""
        self.code = refusal.code
        if self.status is None:
            refusal.close = self._has_more()
            await super().refuse(refusal)


def exchange_of(request: Request) -> AnswerExchange:
    """Return the exchange that the gate made of a request."""
    found: AnswerExchange = request.scope["quantserve"]
    return found


class Gate:
    """An ASGI middleware; `done` hears of every request when it has ended."""

    def __init__(
        self,
        app: ASGIApp,
        bounds: Bounds,
        keys: KeyRing | None,
        tickets: Tickets,
        room: Places,
        uploads: Places,
        done: Callable[[AnswerExchange], None],
    ) -> None:
        """Without `keys` everybody on this machine may ask, and nobody through another site's page."""
        self._app, self._bounds, self._keys, self._done = app, bounds, keys, done
        self._room, self._uploads = room, uploads
        self._tickets = tickets
        self._rates = RateLimits(time.monotonic, time.time)
        self._unread = UnreadBodies(bounds.max_unread_bodies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = AnswerExchange(scope, receive, send, self._bounds.send_timeout_s)
        scope["quantserve"] = exchange
        # Whatever can be got has a HEAD; uvicorn, which keeps the method of its own, sends no body.
        inner = {**scope, "method": "GET"} if exchange.head else scope
        try:
            self._admit(exchange, scope["query_string"])
            await self._hand_on(exchange, inner)
        except Refusal as refusal:
            await exchange.refuse(refusal)
        except ClientLeft:
            exchange.code = "client_left"
        except Exception:
            if not exchange.has_stalled:
                raise
            exchange.code = "client_stalled"
            scope.get("extensions", {}).get(ABORT, lambda: None)()
        finally:
            route = inner.get("route")
            exchange.route = getattr(route, "path", "") if route is not None else ""
            exchange.seconds = time.perf_counter() - exchange.start
            self._done(exchange)

    async def _hand_on(self, exchange: AnswerExchange, scope: Scope) -> None:
        """Read what may be read at once and give it to the app, with its place where that has one."""
        bounds = self._bounds
        if exchange.path == _UPLOAD and exchange.method == "POST":

            async def read_piece() -> Message:
                return await exchange.read_piece(bounds.body_timeout_s, bounds.upload_least_bytes_s)

            with self._uploads.place(exchange.key):
                await self._app(scope, read_piece, exchange.send)
            return
        owner = exchange.key or exchange.client or ""
        body = await exchange.read_body(bounds.max_body_bytes, bounds.body_timeout_s, self._unread, owner)
        exchange.replay(body)
        if exchange.path in _BOUNDED:
            with self._room.place(exchange.key):
                await self._app(scope, exchange.receive, exchange.send)
        else:
            await self._app(scope, exchange.receive, exchange.send)

    def _admit(self, exchange: AnswerExchange, query: bytes) -> None:
        path = exchange.path
        if self._keys is None:
            require_own(exchange.pairs)
            return
        ticket = parse_qs(query.decode("latin-1")).get("ticket", [""])[-1]
        if path in OPEN or path.startswith(_OPEN_BELOW) or self._tickets.allows(path, ticket):
            return
        key = self._keys.identify(presented_key(exchange.headers), exchange.start)
        exchange.key = key.id
        require_unexpired(key)
        self._rates.admit(key)


class Tickets:
    """Makes and checks them; `clock` gives seconds since 1970.

    A ticket is signed with a secret of this process and names the document and when it ends, so it opens
    nothing else and nothing later, and a restart ends them all.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Make the secret."""
        self._secret = secrets.token_bytes(32)
        self._clock = clock

    def address(self, document: str) -> str:
        """Return the address of a document's file, with its ticket."""
        ends = int(self._clock()) + _VALID_S
        return f"/documents/{document}/file?ticket={ends}-{self._sign(document, ends)}"

    def allows(self, path: str, ticket: str) -> bool:
        """Whether a ticket opens a path now."""
        file, parts = _FILE.fullmatch(path), _TICKET.fullmatch(ticket)
        if file is None or parts is None:
            return False
        ends = int(parts[1])
        return hmac.compare_digest(parts[2], self._sign(file[1], ends)) and self._clock() < ends

    def _sign(self, document: str, ends: int) -> str:
        return hmac.new(self._secret, f"{document} {ends}".encode(), hashlib.sha256).hexdigest()
