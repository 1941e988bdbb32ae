"""The app of the public port: lets the allow-list through, picks a replica, and hands its answer on.

The guard in each replica decides who may ask what; the front looks at the path only. A request whose replica
was on its way out is sent to another, as long as no byte of an answer has come; one that finds no replica
waits a while before it gets 503.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping
from functools import lru_cache

import httpx
from prometheus_client import generate_latest

from quantserve.core.http.origin import WHY, foreign
from quantserve.core.http.refusal import Refusal, bad_value
from quantserve.serving.guard.internal import FRONT_HEADER, front_headers
from quantserve.serving.guard.paths import PathTable
from quantserve.serving.guard.request.limits import MIB
from quantserve.serving.guard.settings import GuardSettings
from quantserve.serving.replicas import metrics
from quantserve.serving.replicas.client_connection import ClientConnection
from quantserve.serving.replicas.client_request import ClientRequest
from quantserve.serving.replicas.config import FrontOptions, PickingOptions
from quantserve.serving.replicas.picking import Picker, affinity_of
from quantserve.serving.replicas.upstream import ReplicaClient
from quantserve.serving.supervise.restarts import pause_s

_NOT_PASSED = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
        *(b"te", b"trailer", b"transfer-encoding", b"upgrade"),
        *(b"host", b"content-length", b"expect", b"forwarded", b"x-real-ip"),
        *(b"x-forwarded-for", b"x-forwarded-proto", FRONT_HEADER.lower().encode()),
    }
)
"""Request headers of one hop, and those that are ours to set: the client's address, and that we say so."""
_MOST_JSON_BYTES = 32 * MIB
"""The most the guard's plan ever allows by itself."""
_foreign = lru_cache(maxsize=256)(foreign)


class Front:
    """The handler of every request, and the replicas behind it."""

    def __init__(
        self, options: FrontOptions, picking: PickingOptions, guard: GuardSettings, *, keys: bool
    ) -> None:
        """`guard` is what the user told the replicas' guards; `keys` says whether they ask for keys."""
        self._options = options
        self._guard = guard
        self._keys = keys
        self._paths = PathTable(guard.extra_paths)
        self._clients: dict[str, ReplicaClient] = {}
        self._shown = "".join(f"{name}: {value}\r\n" for name, value in front_headers(None).items()).encode()
        self.picker = Picker(picking)
        self.draining = False

    def add(self, name: str, url: str) -> None:
        """Send this replica requests."""
        self._clients[name] = ReplicaClient(url, self._options.connect_timeout_s)
        self.picker.add(name)
        metrics.REPLICAS.set(len(self._clients))

    def remove(self, name: str) -> None:
        """Send it no more; what runs there goes on."""
        self.picker.remove(name)
        if (client := self._clients.pop(name, None)) is not None:
            client.close()
        metrics.REPLICAS.set(len(self._clients))

    def admit(self, request: ClientRequest) -> None:
        """Look at a request's head, and say how long its body may be.

        The guard's tighter bounds follow in the replica. Ours keep a crowd without keys, which the guard
        would refuse before it reads a body, from filling the front's memory.

        Raises:
            Refusal: it may not come in.
        """
        if self.draining:
            raise self._away("the server is stopping", close=True)
        if not self._keys:
            self._require_own(request.headers)
        endpoint = self._paths.find(request.method, request.path)
        request.endpoint, limits = endpoint.name, self._guard.limits
        if endpoint.body == "json":
            request.most_body_bytes = max(_MOST_JSON_BYTES, limits.max_body_bytes)
        elif endpoint.body == "upload":
            request.most_body_bytes = limits.max_upload_bytes

    async def answer(self, request: ClientRequest, client: ClientConnection) -> None:
        """Answer a whole request.

        Raises:
            Refusal: 400 what cannot be sent on, 503 no replica takes it.
            AnswerCut: one ended amid its answer.
        """
        if request.endpoint == "health":
            if not self._clients:
                raise self._away("no replica is ready")
            client.write_answer(200, [], b"")
        elif request.endpoint == "metrics":
            await self._metrics(request, client)
        else:
            await self._forward(request, client)

    def _require_own(self, headers: Mapping[bytes, bytes]) -> None:
        """Refuse other sites' pages where no key keeps them out; the guards do not see the address asked.

        Raises:
            Refusal: 403.
        """
        host, origin = headers.get(b"host", b"").decode("latin-1"), headers.get(b"origin")
        page = origin.decode("latin-1") if origin is not None else None
        why = _foreign(host, page, self._guard.allowed_origins)
        if why is not None:
            raise Refusal(403, why, WHY[why], close=True)

    def _caller(self, headers: Mapping[bytes, bytes]) -> bytes | None:
        """Return what tells callers apart whose cached beginnings the guard keeps apart."""
        if not self._keys or self._guard.share_prefix_cache:
            return None
        return headers.get(b"authorization", headers.get(b"x-api-key"))

    async def _forward(self, request: ClientRequest, client: ClientConnection) -> None:
        """Try the replicas the picker chooses until one answers, or patience ends.

        Raises:
            Refusal: 503, none could take the request.
            AnswerCut: one ended amid its answer.
        """
        picker, options = self.picker, self._options
        affinity = affinity_of(picker.options, request.headers, request.body, self._caller(request.headers))
        passed = self._passed(request, client.address)
        end = time.monotonic() + options.patience_s
        for attempt in itertools.count():
            tried: set[str] = set()
            while (name := picker.choose(affinity, time.monotonic(), tried)) is not None:
                if attempt or tried:
                    metrics.RESENT.inc()
                tried.add(name)
                if await self._answered(name, passed, request, client):
                    return
                picker.failed(name, time.monotonic())
            pause = pause_s(attempt, options.first_pause_s, options.most_pause_s)
            if self.draining or time.monotonic() + pause > end:
                break
            await asyncio.sleep(pause)
        metrics.GIVEN_UP.inc()
        raise self._away("no replica could take the request")

    async def _answered(
        self, name: str, passed: bytes, request: ClientRequest, client: ClientConnection
    ) -> bool:
        """Ask one replica; False when it is away or on its way out.

        Raises:
            AnswerCut: it ended amid its answer.
        """
        self.picker.running[name] += 1
        try:
            answered = await self._clients[name].exchange(passed, client, head_only=request.method == "HEAD")
        finally:
            self.picker.running[name] -= 1
        if answered:
            client.end()
        return answered

    async def _metrics(self, request: ClientRequest, client: ClientConnection) -> None:
        """All replicas' metrics and ours; each replica's guard decides by the caller's key."""
        passed = [pair for pair in request.raw_headers if pair[0] not in _NOT_PASSED]
        shown = front_headers(client.address)

        async def read(http: httpx.AsyncClient, name: str, url: str) -> tuple[str, int, bytes]:
            try:
                answer = await http.get(f"{url}/metrics", headers=httpx.Headers(passed))
            except httpx.HTTPError:  # it is being replaced: its figures are missing, the others are not
                return name, 0, b""
            return name, answer.status_code, answer.content

        async with httpx.AsyncClient(trust_env=False, headers=shown) as http:
            replicas = self._clients.items()
            found = await asyncio.gather(*(read(http, name, replica.url) for name, replica in replicas))
        for _, status, text in found:
            if status in (401, 403):
                client.write_answer(status, [(b"content-type", b"application/json")], text)
                return
        merged = metrics.merge({name: text.decode() for name, status, text in found if status == 200})
        kind = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
        client.write_answer(200, [kind], merged.encode() + generate_latest(metrics.REGISTRY))

    def _passed(self, request: ClientRequest, client: str | None) -> bytes:
        """Return the request as it goes on: with the client's own headers and its address, for the audit log.

        Raises:
            Refusal: 400, a header is not text; to send it on with bytes left out would be to send another.
        """
        lines = [b"%b %b HTTP/1.1\r\nhost: replica\r\n" % (request.method.encode(), request.target)]
        lines += [b"%b: %b\r\n" % pair for pair in request.raw_headers if pair[0] not in _NOT_PASSED]
        lines.append(self._shown)
        if client is not None:
            lines.append(b"x-forwarded-for: %b\r\n" % client.encode())
        if request.body or request.method == "POST":
            lines.append(b"content-length: %d\r\n" % len(request.body))
        head = b"".join(lines)
        try:
            head.decode()
        except UnicodeDecodeError as error:
            raise bad_value("a header is not valid UTF-8") from error
        return b"%b\r\n%b" % (head, request.body)

    def _away(self, message: str, *, close: bool = False) -> Refusal:
        return Refusal(
            503, "service_unavailable", message, retry_after_s=self._options.retry_after_s, close=close
        )
