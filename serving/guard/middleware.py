"""The guard itself: decides about each request before vLLM sees it, and accounts for it afterwards.

Pure ASGI: streams pass message by message, and the app hears of a client that left, although the guard
has read the body before it. vLLM loads it by `--middleware quantserve.serving.guard.middleware.Guard`.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from pydantic_core import from_json, to_json

from quantserve.core.http.exchange import (
    CLIENT_LEFT_STATUS,
    ASGIApp,
    ClientLeft,
    Message,
    Receive,
    Scope,
    Send,
)
from quantserve.core.http.keys import presented_key
from quantserve.core.http.private_log import PrivateLog, redact, redact_logs, timestamp
from quantserve.core.http.refusal import Refusal
from quantserve.serving.guard import metrics
from quantserve.serving.guard.admission import SUPERVISOR, Admission
from quantserve.serving.guard.exchange import GuardedExchange
from quantserve.serving.guard.launcher_client import LauncherClient, call_app
from quantserve.serving.guard.metering import CURRENT, attach
from quantserve.serving.guard.paths import Endpoint, PathTable
from quantserve.serving.guard.settings import GuardSettings, from_environment

_LOG = logging.getLogger("uvicorn.error")
_LOOPBACK = "127.0.0.1"
_MOST_PATH_CHARS = 200
_PREFLIGHT_AGE_S = b"600"
_ASKED_HEADERS = b"access-control-request-headers"
_ANTHROPIC = "/v1/messages"
_RESPONSES = "/v1/responses"


class Guard:
    """An ASGI app around another."""

    def __init__(self, app: ASGIApp, settings: GuardSettings | None = None) -> None:
        """Without `settings` they are read from the environment, as the planner left them.

        Raises:
            QuantserveError: settings, keys file or audit log cannot be used.
        """
        self._app = app
        self._settings = settings if settings is not None else from_environment()
        self._paths = PathTable(
            self._settings.extra_paths, lora=bool(self._settings.adapters), task=self._settings.task
        )
        self._admission = Admission(self._settings, self._paths)
        audit = self._settings.audit
        file = Path(audit.file) if audit.file is not None else None
        mend = "Choose another audit.file"
        self._audit = PrivateLog(file, audit.max_bytes, audit.files, what="audit log", mend=mend)
        self._launcher = LauncherClient(self._settings.artifact)
        metrics.SEQUENCE_LIMIT.set(self._settings.limits.max_requests)
        if self._settings.metrics_port is not None:
            metrics.serve_metrics(self._settings.metrics_host or _LOOPBACK, self._settings.metrics_port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection's request."""
        kind = scope["type"]
        if kind == "http":
            await self._http(scope, receive, send)
        elif kind == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "not offered here"})
        else:
            await self._app(scope, receive, self._at_startup(scope, self._launcher.at_startup(scope, send)))
            self._launcher.at_shutdown()
            await self._admission.close()
            self.close()

    def close(self) -> None:
        """Write what waits for the audit log."""
        self._audit.close()

    def _at_startup(self, scope: Scope, send: Send) -> Send:
        """Return a `send` for the server's lifespan that begins to count its engine's tokens."""

        async def sending(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                redact_logs()
                app = scope.get("app")
                engine = getattr(app.state, "engine_client", None) if app is not None else None
                if engine is not None:
                    attach(engine)
            await send(message)

        return sending

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._launcher.enter()
        try:
            await self._exchange(scope, receive, send)
        finally:
            self._launcher.leave()

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange, path, name = GuardedExchange(scope, receive, send), _path(scope), "unknown"
        exchange.anthropic = path.startswith(_ANTHROPIC)
        exchange.named_events = path.startswith(_RESPONSES)
        try:
            self._admission.identify_sender(exchange, scope)
            endpoint = self._paths.find(scope["method"], path)
            name = endpoint.name
            if exchange.head:
                scope = {**scope, "method": "GET"}
            if await self._answer_without_key(endpoint, exchange, scope):
                return
            body = await self._admission.admit(endpoint, exchange, scope, path)
        except Refusal as refusal:
            exchange.status = refusal.status
            metrics.DECISIONS.labels(name, refusal.code).inc()
            if refusal.code == "queue_full":
                metrics.QUEUE_REFUSALS.inc()
            self._write(exchange, scope, name, refusal.code)
            await exchange.refuse(refusal)
            return
        except ClientLeft:
            exchange.disconnected = True
            self._write(exchange, scope, name, "client_left")
            return
        if body is not None:
            exchange.replay(body)
        if exchange.key is not SUPERVISOR:
            metrics.DECISIONS.labels(name, "admitted").inc()
            metrics.SEQUENCES.set(self._admission.slots.taken)
        exchange.dead = partial(self._launcher.engine_dead, scope)
        CURRENT.set(exchange.meter)
        try:
            if endpoint.item is None:
                await self._app(scope, exchange.receive, exchange.send)
            else:
                await self._one_model(endpoint.item, exchange, scope, path)
        except Exception:
            if not exchange.streaming or exchange.complete:
                raise
            _LOG.exception("the app failed in the middle of a stream")
            await exchange.break_off()
        finally:
            self._account(exchange, scope, name)

    async def _answer_without_key(self, endpoint: Endpoint, exchange: GuardedExchange, scope: Scope) -> bool:
        """Answer what needs no key: OPTIONS, health, and metrics where they are open.

        Raises:
            Refusal: no engine takes requests, or another site's page asks for what is open here.
        """
        if endpoint.allow:
            headers = [(b"allow", endpoint.allow.encode())]
            if exchange.allow_origin is not None:
                headers += [
                    (b"access-control-allow-methods", endpoint.allow.encode()),
                    (b"access-control-allow-headers", exchange.headers.get(_ASKED_HEADERS, b"*")),
                    (b"access-control-max-age", _PREFLIGHT_AGE_S),
                ]
            await exchange.answer(204, headers, b"")
            return True
        if endpoint.name == "metrics" and self._settings.metrics_open:
            self._admission.require_own(exchange)
            await self._app(scope, exchange.receive, exchange.send)
            return True
        await self._require_open(endpoint, exchange, scope)
        if endpoint.open:
            await self._app(scope, exchange.receive, exchange.send)
            return True
        return False

    async def _require_open(self, endpoint: Endpoint, exchange: GuardedExchange, scope: Scope) -> None:
        """Refuse with 503 while the server is starting or stopping, or its engine is dead.

        Raises:
            Refusal: once the body has been read, lest the connection be reset before the answer is read.
        """
        if self._launcher.open(scope):
            return
        internal = self._admission.is_internal(presented_key(exchange.headers))
        refusal = self._launcher.closed_to(scope, internal=internal)
        if refusal is None:
            return
        await self._admission.discard_body(endpoint, exchange)
        raise refusal

    async def _one_model(self, wanted: str, exchange: GuardedExchange, scope: Scope, path: str) -> None:
        """Answer GET /v1/models/MODEL from the engine's own list."""
        status, answer = await call_app(self._app, scope, path[: -len(wanted) - 1])
        if status != 200:
            await exchange.refuse(Refusal(status, "engine_error", "the list of models cannot be read"))
            return
        found = next((m for m in from_json(answer)["data"] if m.get("id") == wanted), None)
        if found is None:
            message = f"there is no model {wanted[:_MOST_PATH_CHARS]!r} here"
            await exchange.refuse(Refusal(404, "model_not_found", message, param="model"))
            return
        await exchange.answer(200, [(b"content-type", b"application/json")], to_json(found))

    def _account(self, exchange: GuardedExchange, scope: Scope, name: str) -> None:
        """Free the slots, settle the key's tokens and write the line, however the response ended."""
        admission, meter = self._admission, exchange.meter
        if exchange.sequences:
            admission.slots.release(exchange.sequences, perf_counter() - exchange.start)
            metrics.SEQUENCES.set(admission.slots.taken)
        prompt, completion = meter.prompt, meter.completion
        if exchange.key is not SUPERVISOR:
            metrics.TOKENS.labels("prompt").inc(prompt)
            metrics.TOKENS.labels("completion").inc(completion)
        if exchange.reservation is not None:
            admission.rates.settle(exchange.reservation, prompt + completion)
        if exchange.disconnected:
            metrics.DISCONNECTS.inc()
        self._write(exchange, scope, name, "admitted")

    def _write(self, exchange: GuardedExchange, scope: Scope, name: str, decision: str) -> None:
        """Hand the audit line over."""
        metrics.AUDIT_DROPPED.set(self._audit.dropped)
        keys = self._admission.keys
        if keys is not None:
            metrics.KEYS_PROBLEM.set(1 if keys.problem else 0)
        if not self._audit.is_open or exchange.key is SUPERVISOR:
            return
        artifact, summary, meter = self._settings.artifact, exchange.summary, exchange.meter
        entry: dict[str, Any] = {
            "time": timestamp(),
            "request_id": redact(exchange.request_id.decode()),
            "key": exchange.key.name if exchange.key is not None else None,
            "client": exchange.client,
            "method": "HEAD" if exchange.head else scope["method"][:20],
            "path": redact(scope["path"][:_MOST_PATH_CHARS]),
            "endpoint": name,
            "decision": decision,
            "status": CLIENT_LEFT_STATUS if exchange.disconnected else exchange.status or 500,
            "seconds": round(perf_counter() - exchange.start, 6),
            "first_byte_s": None if exchange.first_s is None else round(exchange.first_s, 6),
            "model": redact(summary.model or artifact.name) if summary is not None else None,
            "artifact": artifact.name,
            "version": artifact.version,
            "manifest_sha256": artifact.sha256,
            "stream": exchange.streaming,
            "prompt_tokens": meter.prompt if meter.began else None,
            "completion_tokens": meter.completion if meter.began else None,
        }
        if exchange.prompt is not None:
            entry["asked"] = exchange.prompt
        self._audit.add(entry)


def _path(scope: Scope) -> str:
    """The path as the router behind us compares it: without the root path."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root + "/") else path
