"""The public port: lets the allow-list through, has the router pick a replica, and hands the answer on.

The guard in each replica decides who may ask what; the front looks at the path only, so that nothing of the
router can be reached from outside. A request whose replica was on its way out is sent to another, as long
as no byte of an answer has come; one that finds no replica waits a while before it gets 503.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import time
from collections import Counter
from collections.abc import Collection

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from prometheus_client import generate_latest
from yarl import URL

from quantserve.core.origin import WHY, foreign
from quantserve.serving.guard.internal import FRONT_HEADER, front_headers
from quantserve.serving.guard.paths import Endpoint, PathTable
from quantserve.serving.guard.refusal import Refusal, bad_value
from quantserve.serving.replicas import metrics
from quantserve.serving.replicas.affinity import beginning_of, parse, session_of
from quantserve.serving.replicas.bodies import Held
from quantserve.serving.replicas.config import STICKY, FrontOptions
from quantserve.serving.replicas.picking import Picker
from quantserve.serving.replicas.public_port import refused
from quantserve.serving.supervise.restarts import pause_s

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
        FRONT_HEADER.lower(),
    }
)
"""Request headers that are ours to set: the client's address, and that we say so."""
_AWAY = frozenset((502, 503))
"""Statuses of a replica that stops, or whose engine is being replaced."""
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_AUTOMATIC = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class Front:
    """The handler of every request, and what it knows of the parts behind it."""

    def __init__(
        self, options: FrontOptions, policy: str, paths: PathTable, origins: Collection[str] | None = None
    ) -> None:
        """Must be made inside the event loop.

        `origins` are the further origins whose pages may ask a server without keys; None where keys are
        asked for, since another site's page has none.
        """
        self._origins = origins
        self._options = options
        self._policy = policy
        self._paths = paths
        self.replicas: dict[str, str] = {}
        """Root addresses of the replicas that get requests, by name."""
        self.running: Counter[str] = Counter()
        """Answers on their way, by replica."""
        self.draining = False
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=options.connect_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        self._held = Held(options.most_held_bytes)
        self.picker = Picker(self.session, options.pick_timeout_s)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        try:
            if self.draining:
                return self._away("the server is stopping", close=True)
            self._require_own(request)
            endpoint = self._paths.find(request.method, request.path)
            if endpoint.name == "health":
                return web.Response() if self.replicas else self._away("no replica is ready")
            if endpoint.name == "metrics":
                return await self._metrics(request)
            with self._held.body() as body:
                return await self._forward(request, endpoint, await body.read(request, endpoint))
        except Refusal as refusal:
            return refused(refusal)

    def _require_own(self, request: web.BaseRequest) -> None:
        """Refuse other sites' pages where no key keeps them out; the guards do not see the address asked.

        Raises:
            Refusal: 403.
        """
        if self._origins is None:
            return
        why = foreign(request.headers.get("Host", ""), request.headers.get("Origin"), self._origins)
        if why is not None:
            raise Refusal(403, why, WHY[why], close=True)

    async def close(self) -> None:
        """Close the connections to the parts behind."""
        await self.session.close()

    async def _forward(self, request: web.BaseRequest, endpoint: Endpoint, body: bytes) -> web.StreamResponse:
        """Try the replicas the router picks until one answers, or patience ends."""
        asked = parse(body) if endpoint.body == "json" else None
        beginning = beginning_of(asked) if self._policy == "cache_aware" else ""
        session = session_of(asked) if self._policy in STICKY else None
        model = asked.get("model") if isinstance(asked, dict) else None
        headers = _passed(request)
        end = time.monotonic() + self._options.patience_s
        for attempt in itertools.count():
            picks = self.picker.pick(model if isinstance(model, str) else "", beginning, session)
            async with contextlib.aclosing(picks):
                async for offer in picks:
                    self.running[offer.replica] += 1
                    try:
                        upstream = await self._ask(request, offer.replica, headers, body)
                        if upstream is None:
                            offer.settle(503)
                            continue
                        with contextlib.closing(upstream):
                            response, whole = await _answer(request, upstream)
                            offer.settle(200 if whole and upstream.status < 500 else 500)
                            return response
                    finally:
                        self.running[offer.replica] -= 1
            pause = pause_s(attempt, self._options.first_pause_s, self._options.most_pause_s)
            if self.draining or time.monotonic() + pause > end:
                break
            metrics.RESENT.inc()
            await asyncio.sleep(pause)
        metrics.GIVEN_UP.inc()
        return self._away("no replica could take the request")

    async def _ask(
        self, request: web.BaseRequest, replica: str, headers: CIMultiDict[str], body: bytes
    ) -> aiohttp.ClientResponse | None:
        """Return a replica's answer, None when it is away or on its way out."""
        root = self.replicas.get(replica)
        if root is None:
            return None
        query = request.rel_url.raw_query_string
        try:
            upstream = await self.session.request(
                request.method,
                URL(f"{root}{request.rel_url.raw_path}" + (f"?{query}" if query else ""), encoded=True),
                headers=headers,
                data=body or None,
                allow_redirects=False,
                skip_auto_headers=_AUTOMATIC,
            )
        except aiohttp.ClientConnectionError:  # nothing of an answer has come: another may be asked
            return None
        if upstream.status in _AWAY:
            upstream.close()
            return None
        return upstream

    async def _metrics(self, request: web.BaseRequest) -> web.Response:
        """All replicas' metrics and ours; each replica's guard decides by the caller's key."""
        headers = _passed(request)

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


def _passed(request: web.BaseRequest) -> CIMultiDict[str]:
    """Return the headers that go on: the client's own and its address, which the guard's audit log shows.

    Raises:
        Refusal: 400, one is not text; to send it on with bytes left out would be to send another.
    """
    passed: CIMultiDict[str] = CIMultiDict()
    for name, value in request.headers.items():
        if name.lower() not in _HOP_BY_HOP and name.lower() not in _OURS:
            if _LONE_SURROGATE.search(value):  # how aiohttp reads bytes that are not UTF-8
                raise bad_value(f"the header {name[:64]} is not valid UTF-8")
            passed.add(name, value)
    passed.update(front_headers(request.remote))
    return passed


async def _answer(
    request: web.BaseRequest, upstream: aiohttp.ClientResponse
) -> tuple[web.StreamResponse, bool]:
    """Hand an answer on, piece by piece as it comes; say whether it came to its end."""
    response = web.StreamResponse(status=upstream.status, reason=upstream.reason)
    for name, value in upstream.headers.items():
        if name.lower() not in _HOP_BY_HOP:
            response.headers.add(name, value)
    await response.prepare(request)
    pieces = upstream.content.iter_any()
    while True:
        try:
            piece = await anext(pieces, None)
        except aiohttp.ClientError:
            # The replica died. To close without the last chunk is HTTP's way to say so.
            if request.transport is not None:
                request.transport.close()
            return response, False
        if piece is None:
            break
        await response.write(piece)
    await response.write_eof()
    return response, True


def _error(status: int, message: str, kind: str, headers: dict[str, str]) -> web.Response:
    """OpenAI's error object."""
    error = {"message": message, "type": kind, "param": None, "code": kind}
    return web.Response(
        status=status,
        body=json.dumps({"error": error}, ensure_ascii=False).encode(),
        content_type="application/json",
        headers=headers,
    )
