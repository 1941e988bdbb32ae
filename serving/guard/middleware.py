"""The guard itself: decides about each request before vLLM sees it, and accounts for it afterwards.

Pure ASGI: streams pass message by message, and the app hears of a client that left, although the guard
has read the body before it. vLLM loads it by `--middleware serving.guard.middleware.Guard`.
"""

from __future__ import annotations

import asyncio
import re
import time
from datetime import UTC, datetime
from functools import partial
from hmac import compare_digest
from pathlib import Path
from time import perf_counter
from typing import Any

from prometheus_client import start_http_server

from serving.guard import metrics
from serving.guard.audit import AuditLog
from serving.guard.body import parse
from serving.guard.exchange import ASGIApp, ClientLeft, Exchange, Receive, Scope, Send, body_too_large
from serving.guard.internal import INTERNAL_PREFIX
from serving.guard.keys import Key, KeyRing, digest
from serving.guard.paths import Endpoint, PathTable
from serving.guard.rates import RateLimits
from serving.guard.refusal import Refusal
from serving.guard.rules import Asked, Rules
from serving.guard.settings import GuardSettings, from_environment
from serving.guard.slots import Slots
from serving.guard.supervisor import Supervisor
from serving.guard.usage import ask_for_usage

_INTERNAL = Key(id="0" * 8, name="supervisor", sha256="0" * 64, created=datetime(2000, 1, 1, tzinfo=UTC))
_LEFT = 499
"""Status in the audit log for a client that left first; nginx's number, never sent."""
_UPLOAD_MODEL = re.compile(rb'name="model"\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]{1,256})\r\n')


class Guard:
    """An ASGI app around another."""

    def __init__(self, app: ASGIApp, settings: GuardSettings | None = None) -> None:
        """Without `settings` they are read from the environment, as the planner left them.

        Raises:
            QuantserveError: settings, keys file or audit log cannot be used.
        """
        self._app = app
        self._settings = settings if settings is not None else from_environment()
        limits = self._settings.limits
        self._limits = limits
        self._paths = PathTable(self._settings.extra_paths)
        self._rules = Rules(self._settings)
        keys_file = self._settings.keys_file
        self._keys = KeyRing(Path(keys_file)) if keys_file is not None else None
        self._rates = RateLimits(time.monotonic, time.time)
        self._slots = Slots(limits.max_requests)
        self._audit = AuditLog(self._settings.audit)
        self._supervisor = Supervisor(self._settings.artifact)
        metrics.SEQUENCE_LIMIT.set(limits.max_requests)
        if self._settings.metrics_port is not None:
            start_http_server(self._settings.metrics_port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection's request."""
        kind = scope["type"]
        if kind == "http":
            await self._http(scope, receive, send)
        elif kind == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "not offered here"})
        else:
            await self._app(scope, receive, self._supervisor.at_startup(scope, send))
            self._supervisor.at_shutdown()
            self.close()

    def close(self) -> None:
        """Write what waits for the audit log."""
        self._audit.close()

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._supervisor.enter()
        try:
            await self._exchange(scope, receive, send)
        finally:
            self._supervisor.leave()

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        name = "unknown"
        try:
            endpoint = self._paths.find(scope["method"], _path(scope))
            name = endpoint.name
            if name == "metrics" and self._settings.metrics_open:
                await self._app(scope, receive, exchange.send)
                return
            await self._require_open(endpoint, exchange, scope)
            if endpoint.open:
                await self._app(scope, receive, exchange.send)
                return
            await self._admit(endpoint, exchange, scope)
        except Refusal as refusal:
            exchange.status = refusal.status
            metrics.DECISIONS.labels(name, refusal.reason).inc()
            if refusal.reason == "queue_full":
                metrics.QUEUE_REFUSALS.inc()
            self._write(exchange, scope, name, refusal.reason)
            await exchange.refuse(refusal)
            return
        except ClientLeft:
            exchange.disconnected = True
            self._write(exchange, scope, name, "client_left")
            return
        if exchange.key is not _INTERNAL:
            metrics.DECISIONS.labels(name, "admitted").inc()
            metrics.SEQUENCES.set(self._slots.taken)
        exchange.dead = partial(self._supervisor.engine_dead, scope)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        finally:
            self._account(exchange, scope, name)

    async def _require_open(self, endpoint: Endpoint, exchange: Exchange, scope: Scope) -> None:
        """Refuse with 503 while the server is starting or stopping, or its engine is dead.

        Raises:
            Refusal: once the body has been read, lest the connection be reset before the answer is read.
        """
        if self._supervisor.open(scope):
            return
        refusal = self._supervisor.closed_to(scope, internal=self._is_internal(_bearer(exchange)))
        if refusal is None:
            return
        if endpoint.body != "none":
            await self._body(endpoint, exchange)
        raise refusal

    async def _admit(self, endpoint: Endpoint, exchange: Exchange, scope: Scope) -> None:
        """Decide; afterwards the exchange holds its slots and what it asked."""
        key = self._identify(exchange, endpoint)
        exchange.key = key
        if endpoint.body == "none":
            return
        raw = await self._body(endpoint, exchange)
        if endpoint.body == "upload":
            found = _UPLOAD_MODEL.search(raw)
            model = found.group(1).decode("utf-8", errors="replace") if found else None
            asked = Asked(model, 1, stream=False, usage_wanted=False, characters=0)
            if not exchange.headers.get(b"content-type", b"").startswith(b"multipart/form-data"):
                raise Refusal(415, "wrong_content_type", "send the file as multipart/form-data")
        else:
            body = parse(raw)
            asked = self._rules.check(endpoint, body)
            if asked.stream and not asked.usage_wanted and endpoint.name in ("chat", "completions"):
                raw = ask_for_usage(raw, body.get("stream_options"))
                exchange.hide_usage = True
                _set_length(scope, len(raw))
            if self._settings.audit.prompts:
                exchange.prompt = body
        exchange.asked = asked
        if key is not None and not key.may_ask(asked.model or self._settings.artifact.name):
            raise Refusal(
                403, "model_scope", f"this key may not use the model {asked.model!r}", param="model"
            )
        if endpoint.queued and key is not _INTERNAL:  # the supervisor's probe must tell full from dead
            self._slots.take(asked.sequences)
            exchange.sequences = asked.sequences
        exchange.replay(raw)

    def _identify(self, exchange: Exchange, endpoint: Endpoint) -> Key | None:
        """Return the key of a request, None when the server asks for none; counts it against its limits."""
        presented = _bearer(exchange)
        if self._settings.internal_key_sha256 is not None and presented.startswith(INTERNAL_PREFIX):
            if not self._is_internal(presented):
                raise Refusal(401, "wrong_key", "this key is not known here")
            exchange.key = _INTERNAL
            return _INTERNAL
        if self._keys is None:
            return None
        self._keys.refresh(exchange.start)
        if not presented:
            raise Refusal(401, "no_key", "this server asks for a key: Authorization: Bearer KEY")
        key = self._keys.find(presented)
        if key is None:
            raise Refusal(401, "wrong_key", "this key is not known here")
        exchange.key = key
        if key.expired(datetime.now(UTC)):
            raise Refusal(401, "expired_key", "this key has expired")
        if not key.may_use(endpoint.name):
            raise Refusal(403, "endpoint_scope", f"this key may not use {endpoint.name}")
        self._rates.admit(key)
        return key

    def _is_internal(self, presented: str) -> bool:
        """Whether a key is the supervisor's own."""
        internal = self._settings.internal_key_sha256
        if internal is None or not presented.startswith(INTERNAL_PREFIX):
            return False
        return compare_digest(digest(presented), internal)

    async def _body(self, endpoint: Endpoint, exchange: Exchange) -> bytes:
        """Read the body within its bounds of type, size and time."""
        limits, headers = self._limits, exchange.headers
        limit = limits.max_upload_bytes if endpoint.body == "upload" else limits.max_body_bytes
        length = headers.get(b"content-length")
        if length is not None and (not length.isdigit() or len(length) > 18 or int(length) > limit):
            raise body_too_large(limit)
        if endpoint.body == "json":
            kind = headers.get(b"content-type", b"")
            if kind != b"application/json" and kind.split(b";")[0].strip().lower() != b"application/json":
                raise Refusal(
                    415, "wrong_content_type", "send JSON as content-type application/json", close=True
                )
        try:
            async with asyncio.timeout(limits.body_timeout_s):
                return await exchange.read_body(limit)
        except TimeoutError as error:
            message = f"the body did not come within {limits.body_timeout_s:g} s"
            raise Refusal(408, "body_timeout", message, close=True) from error

    def _account(self, exchange: Exchange, scope: Scope, name: str) -> None:
        """Free the slots, charge the key and write the line, however the response ended."""
        if exchange.sequences:
            self._slots.release(exchange.sequences, perf_counter() - exchange.start)
            metrics.SEQUENCES.set(self._slots.taken)
        usage = exchange.usage
        if usage is not None and exchange.key is not _INTERNAL:
            metrics.TOKENS.labels("prompt").inc(usage.prompt)
            metrics.TOKENS.labels("completion").inc(usage.completion)
        if exchange.key is not None and exchange.key is not _INTERNAL and exchange.asked is not None:
            # A client that leaves early gets no usage: its events are tokens, four letters about another.
            spent = (
                usage.prompt + usage.completion
                if usage is not None
                else exchange.events + exchange.asked.characters // 4
                if exchange.disconnected
                else 0
            )
            self._rates.charge(exchange.key, spent)
        if exchange.disconnected:
            metrics.DISCONNECTS.inc()
        self._write(exchange, scope, name, "admitted")

    def _write(self, exchange: Exchange, scope: Scope, name: str, decision: str) -> None:
        """Hand the audit line over."""
        metrics.AUDIT_DROPPED.set(self._audit.dropped)
        if self._keys is not None:
            metrics.KEYS_PROBLEM.set(0 if self._keys.problem is None else 1)
        if self._settings.audit.file is None or exchange.key is _INTERNAL:
            return
        artifact, asked, usage = self._settings.artifact, exchange.asked, exchange.usage
        entry: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": exchange.request_id.decode(),
            "key": exchange.key.name if exchange.key is not None else None,
            "client": (scope.get("client") or (None,))[0],
            "method": scope["method"],
            "path": scope["path"][:200],
            "endpoint": name,
            "decision": decision,
            "status": _LEFT if exchange.disconnected else exchange.status or 500,
            "seconds": round(perf_counter() - exchange.start, 6),
            "first_byte_s": None if exchange.first_s is None else round(exchange.first_s, 6),
            "model": (asked.model or artifact.name) if asked is not None else None,
            "artifact": artifact.name,
            "version": artifact.version,
            "manifest_sha256": artifact.sha256,
            "stream": exchange.streaming,
            "prompt_tokens": None if usage is None else usage.prompt,
            "completion_tokens": None if usage is None else usage.completion,
        }
        if exchange.prompt is not None:
            entry["asked"] = exchange.prompt
        self._audit.add(entry)


def _bearer(exchange: Exchange) -> str:
    """The key a request presents; "" without one."""
    header = exchange.headers.get(b"authorization", b"").decode("latin-1")
    scheme, _, presented = header.partition(" ")
    return presented.strip() if scheme.lower() == "bearer" else ""


def _path(scope: Scope) -> str:
    """The path as the router behind us compares it: without the root path."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root + "/") else path


def _set_length(scope: Scope, length: int) -> None:
    scope["headers"] = [
        *(pair for pair in scope["headers"] if pair[0] != b"content-length"),
        (b"content-length", str(length).encode()),
    ]
