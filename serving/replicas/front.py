"""The public port: lets the allow-list through to the router, and holds requests while a part is replaced.

The guard in each replica decides who may ask what; the front only keeps everything from the router that the
guard would refuse by its path, since the router's own paths (/add_worker, …) change what it does. A request
that met a replica or a router on its way out is sent again, as long as no byte of an answer has come.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator

import aiohttp
from aiohttp import web
from prometheus_client import generate_latest
from yarl import URL

from serving.guard.exchange import body_too_large
from serving.guard.paths import Endpoint, PathTable
from serving.guard.refusal import Refusal
from serving.guard.settings import MIB, Limits
from serving.replicas import metrics
from serving.replicas.affinity import parse, session_of, shard
from serving.replicas.config import STICKY, FrontOptions, pause_s
from serving.replicas.router import routed_path

_LIMITS = Limits.model_validate({})
_MOST_BODY_BYTES = 32 * MIB
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_OURS = frozenset(
    {
        "host",
        "content-length",
        "expect",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-real-ip",
        "x-session-id",
        "x-user-id",
        "x-tenant-id",
    }
)
"""Request headers a client may not set: its address, and what the router chooses a replica by."""
_AWAY = frozenset((502, 503))
"""Statuses of a replica that stops or is gone, and of a router that has none."""
_AUTOMATIC = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class Front:
    """The handler of every request, and what it knows of the parts behind it."""

    def __init__(self, options: FrontOptions, policy: str, paths: PathTable) -> None:
        """Must be made inside the event loop."""
        self._options = options
        self._policy = policy
        self._paths = paths
        self._sessions: Counter[str] = Counter()
        self._turn = 0
        self.router_url = ""
        self.replicas: dict[str, str] = {}
        """Root addresses of the replicas that get requests, by name."""
        self.draining = False
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=options.connect_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        try:
            if self.draining:
                return self._away("the server is stopping", close=True)
            endpoint = self._paths.find(request.method, request.path)
            if endpoint.name == "health":
                return web.Response() if self.replicas else self._away("no replica is ready")
            body = await _read(request, endpoint)
            if endpoint.name == "metrics":
                return await self._metrics(request)
            return await self._forward(request, endpoint, body)
        except Refusal as refusal:
            headers = {name.decode(): value.decode() for name, value in refusal.headers()}
            return web.Response(status=refusal.status, body=refusal.body(), headers=headers)

    async def close(self) -> None:
        """Close the connections to the parts behind."""
        await self.session.close()

    async def _forward(self, request: web.Request, endpoint: Endpoint, body: bytes) -> web.StreamResponse:
        session = None
        if endpoint.body == "json" and self._policy in STICKY:
            session = session_of(parse(body))
        headers = dict(_passed(request, session and self._shard(session)))
        if session is not None:
            self._sessions[session] += 1
        try:
            upstream = await self._ask(request, endpoint, headers, body)
            if upstream is None:
                metrics.GIVEN_UP.inc()
                return self._away("no replica could take the request")
            async with upstream:
                return await _answer(request, upstream)
        finally:
            if session is not None:
                self._sessions[session] -= 1
                if self._sessions[session] <= 0:
                    del self._sessions[session]

    def _shard(self, session: str) -> str:
        return shard(session, self._sessions[session], self._options.spread)

    async def _ask(
        self, request: web.Request, endpoint: Endpoint, headers: dict[str, str], body: bytes
    ) -> aiohttp.ClientResponse | None:
        """Return the first answer of a replica that is there, the last answer of one that is not, or None."""
        end = time.monotonic() + self._options.patience_s
        attempt = 0
        while True:
            upstream: aiohttp.ClientResponse | None = None
            address = self._address(request, endpoint)
            if address is not None:
                try:
                    upstream = await self.session.request(
                        request.method,
                        address,
                        headers=headers,
                        data=body or None,
                        allow_redirects=False,
                        skip_auto_headers=_AUTOMATIC,
                    )
                except aiohttp.ClientConnectionError:  # nothing of an answer has come: it may be asked again
                    upstream = None
            if upstream is not None and upstream.status not in _AWAY:
                return upstream
            pause = pause_s(attempt, self._options.first_pause_s, self._options.most_pause_s)
            if self.draining or time.monotonic() + pause > end:
                return upstream
            if upstream is not None:
                upstream.close()
            metrics.RESENT.inc()
            attempt += 1
            await asyncio.sleep(pause)

    def _address(self, request: web.Request, endpoint: Endpoint) -> URL | None:
        """Say where to ask: the router, which takes no uploads; with those each replica has its turn."""
        path, query = request.path, request.rel_url.raw_query_string
        if endpoint.body == "upload" or request.method == "OPTIONS":
            if not self.replicas:
                return None
            self._turn += 1
            root = list(self.replicas.values())[self._turn % len(self.replicas)]
        else:
            root, path = self.router_url, routed_path(path, self._policy)
            if not root:
                return None
        return URL(f"{root}{path}?{query}" if query else f"{root}{path}", encoded=True)

    async def _metrics(self, request: web.Request) -> web.Response:
        """All replicas' metrics and ours; each replica's guard decides by the caller's key."""
        headers = dict(_passed(request, None))

        async def read(name: str, root: str) -> tuple[str, int, str]:
            try:
                async with self.session.get(f"{root}/metrics", headers=headers) as response:
                    return name, response.status, await response.text()
            except aiohttp.ClientError:  # it is being replaced: its figures are missing, the others are not
                return name, 0, ""

        found = await asyncio.gather(*(read(name, root) for name, root in self.replicas.items()))
        for _, status, text in found:
            if status in (401, 403):
                return web.Response(status=status, text=text, content_type="application/json")
        merged = metrics.merge({name: text for name, status, text in found if status == 200})
        ours = generate_latest(metrics.REGISTRY).decode()
        return web.Response(text=merged + ours, headers={"Content-Type": "text/plain; version=0.0.4"})

    def _away(self, message: str, *, close: bool = False) -> web.Response:
        headers = {"Retry-After": str(self._options.retry_after_s)}
        if close:
            headers["Connection"] = "close"
        return _error(503, message, "service_unavailable", headers)


async def _read(request: web.Request, endpoint: Endpoint) -> bytes:
    """Read the body whole, since it may have to be sent again.

    Raises:
        Refusal: it is too long or too slow; the guard's bounds, of which the tighter one follows there.
    """
    if endpoint.body == "none":
        return b""
    limit = _LIMITS.max_upload_bytes if endpoint.body == "upload" else _MOST_BODY_BYTES
    if (request.content_length or 0) > limit:
        raise body_too_large(limit)
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_LIMITS.body_timeout_s):
            async for piece in request.content.iter_any():
                size += len(piece)
                if size > limit:
                    raise body_too_large(limit)
                pieces.append(piece)
    except TimeoutError as error:
        message = f"the body did not come within {_LIMITS.body_timeout_s:g} s"
        raise Refusal(408, "body_timeout", message, close=True) from error
    return b"".join(pieces)


def _passed(request: web.Request, session: str | None) -> Iterator[tuple[str, str]]:
    """The headers that go on: the client's own, its address, and what the router chooses by."""
    for name, value in request.headers.items():
        if name.lower() not in _HOP_BY_HOP and name.lower() not in _OURS:
            yield name, value
    if request.remote:
        yield "X-Forwarded-For", request.remote
    if session:
        yield "X-Session-ID", session


async def _answer(request: web.Request, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
    """Hand an answer on, piece by piece as it comes."""
    if upstream.status >= 400 and upstream.content_type == "text/plain":
        # The router's own words; every other answer is a replica's and has OpenAI's shape already.
        text = (await upstream.read()).decode(errors="replace")[:500]
        status = 400 if upstream.status == 422 else upstream.status
        return _error(status, text, "invalid_request_error" if status < 500 else "server_error", {})
    response = web.StreamResponse(status=upstream.status, reason=upstream.reason)
    for name, value in upstream.headers.items():
        if name.lower() not in _HOP_BY_HOP:
            response.headers.add(name, value)
    await response.prepare(request)
    try:
        async for piece in upstream.content.iter_any():
            await response.write(piece)
    except aiohttp.ClientError:
        # The replica died amid the answer. An end without the last chunk is how HTTP says that it was cut.
        if request.transport is not None:
            request.transport.close()
        return response
    await response.write_eof()
    return response


def _error(status: int, message: str, kind: str, headers: dict[str, str]) -> web.Response:
    """OpenAI's error object."""
    error = {"message": message, "type": kind, "param": None, "code": kind}
    return web.Response(
        status=status,
        body=json.dumps({"error": error}, ensure_ascii=False).encode(),
        content_type="application/json",
        headers=headers,
    )
