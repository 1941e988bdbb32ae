"""Whether a request may come in: one question after the other, the cheap ones first.

Other site's page → key, scope, rate → task → content type, size, time → fields → compiled constraints →
queue → tokens set aside. Nothing of a body is read before the key is known, and every step takes time in
proportion to the body at most.
"""

from __future__ import annotations

import time
from collections.abc import Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from hmac import compare_digest
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from quantserve.core.http.admission import Places
from quantserve.core.http.exchange import Scope
from quantserve.core.http.keys import Key, KeyRing, digest, presented_key, require_unexpired
from quantserve.core.http.origin import require_own
from quantserve.core.http.rates import RateLimits
from quantserve.core.http.refusal import Refusal
from quantserve.serving.guard.exchange import GuardedExchange, RequestContext
from quantserve.serving.guard.internal import FRONT_HEADER, INTERNAL_PREFIX
from quantserve.serving.guard.launcher_client import INTERNAL
from quantserve.serving.guard.metering import Meter, salt_of
from quantserve.serving.guard.paths import BY_NAME_ONLY, KEY_RULES, LORA, Endpoint, OfferedAdapters, PathTable
from quantserve.serving.guard.request.bodies import boundary_of, parse, read_fields
from quantserve.serving.guard.request.conversations import self_contained
from quantserve.serving.guard.request.grammars import Compiler, constraints, every_tool_may_be_called
from quantserve.serving.guard.request.rules import RequestRules, RequestSummary
from quantserve.serving.guard.request.token_bounds import audio_tokens, most_tokens
from quantserve.serving.guard.settings import GuardSettings

SUPERVISOR = Key(id="0" * 8, name="supervisor", sha256="0" * 64, created=datetime(2000, 1, 1, tzinfo=UTC))
_FRONT = FRONT_HEADER.lower().encode()
_FORWARDED = b"x-forwarded-for"
_CONTENT_LENGTH = b"content-length"
_COPY = b"x-data-parallel-rank"
_FOR_THE_ENGINE = frozenset(
    {
        *(b"host", b"user-agent", b"accept", b"accept-encoding", b"x-request-id"),
        *(b"content-type", _CONTENT_LENGTH, b"transfer-encoding", b"traceparent", b"tracestate"),
    }
)
"""Headers that are handed on. The engine reads others, which would let a client choose its place in the queue
or the copy that answers; keys and cookies are none of its business."""


def rules_of(settings: GuardSettings) -> RequestRules:
    """Return the checks of one request's fields."""
    return RequestRules(
        settings.limits,
        media_hosts=settings.allowed_media_hosts,
        refused_fields=settings.refused_fields,
        auto_tools=settings.auto_tools,
    )


class Admission:
    """The questions, and what they are asked of."""

    def __init__(self, settings: GuardSettings, paths: PathTable) -> None:
        """Open the keys file.

        Raises:
            KeysError: it cannot be used.
        """
        self._settings = settings
        self._limits = settings.limits
        self._paths = paths
        self._adapters = OfferedAdapters(settings.adapters)
        self._rules = rules_of(settings)
        self._context = RequestContext(settings.tokens.window)
        self._compiler = (
            Compiler(Path(settings.tokenizer), settings.limits.max_schema_cpu_s)
            if settings.tokenizer is not None
            else None
        )
        keys_file = settings.keys_file
        self.keys = KeyRing(Path(keys_file), KEY_RULES) if keys_file is not None else None
        self.rates = RateLimits(time.monotonic, time.time)
        self.slots = Places(settings.limits.max_requests)

    async def close(self) -> None:
        """End what runs beside."""
        if self._compiler is not None:
            await self._compiler.close()

    def identify_sender(self, exchange: GuardedExchange, scope: Scope) -> None:
        """See who stands at the door: the front before replicas, a page, another site's page.

        Raises:
            Refusal: 403 for another site's page, where no key would keep it out.
        """
        if self._is_from_front(exchange):
            forwarded = exchange.headers.get(_FORWARDED, b"").decode("latin-1")
            exchange.client = forwarded or exchange.client
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] in _FOR_THE_ENGINE]
        if self.keys is None:
            self.require_own(exchange)
        # Whoever has a key may use it from any page.
        exchange.allow_origin = exchange.headers.get(b"origin")

    def require_own(self, exchange: GuardedExchange) -> None:
        """Refuse another site's page where no key is asked for.

        Raises:
            Refusal: 403.
        """
        if not self._is_from_front(exchange):
            require_own(exchange.pairs, self._settings.allowed_origins)

    def _is_from_front(self, exchange: GuardedExchange) -> bool:
        front = exchange.headers.get(_FRONT)
        return front is not None and self.is_internal(front.decode("latin-1"))

    async def admit(
        self, endpoint: Endpoint, exchange: GuardedExchange, scope: Scope, path: str
    ) -> bytes | None:
        """Decide; return the body as the engine gets it. Afterwards the exchange holds its slots and tokens.

        Raises:
            Refusal: the request may not come in.
        """
        key = self._identify(exchange, endpoint)
        exchange.key = key
        scope[INTERNAL] = key is SUPERVISOR
        if key is SUPERVISOR:  # it asks one copy of several
            scope["headers"] += [pair for pair in exchange.pairs if pair[0] == _COPY]
        if key is not SUPERVISOR:  # whose probe asks every server for one token, whatever it serves
            self._paths.require_task(endpoint, path)
        salted = key is not None and key is not SUPERVISOR and not self._settings.share_prefix_cache
        exchange.meter = Meter(salt_of(key.id) if salted and key is not None else None)
        exchange.context = self._context
        if endpoint.body == "none":
            return None
        if endpoint.body == "upload":
            raw, summary, most = await self._upload(endpoint, exchange)
        else:
            raw, summary, most = await self._json(endpoint, exchange, scope, path)
        exchange.summary = summary
        if summary.no_answer:
            exchange.context = replace(exchange.context or self._context, asked_for_none=True)
        self._take(endpoint, exchange, summary, most)
        return raw

    def _require_model(self, key: Key | None, summary: RequestSummary) -> None:
        if key is not None and not key.may_ask(summary.model or self._settings.artifact.name):
            raise Refusal(
                403, "model_scope", f"this key may not use the model {summary.model!r}", param="model"
            )

    def _take(
        self, endpoint: Endpoint, exchange: GuardedExchange, summary: RequestSummary, most: int
    ) -> None:
        """Take places in the queue and tokens of the key; both or none."""
        key = exchange.key
        if not endpoint.queued or key is SUPERVISOR:  # the supervisor's probe must tell full from dead
            return
        self.slots.take(summary.sequences)
        if key is not None:
            try:
                exchange.reservation = self.rates.reserve(key, most)
            except Refusal:
                self.slots.give_back(summary.sequences)
                raise
        exchange.sequences = summary.sequences

    async def _upload(
        self, endpoint: Endpoint, exchange: GuardedExchange
    ) -> tuple[bytes, RequestSummary, int]:
        boundary = boundary_of(exchange.headers.get(b"content-type", b""))
        raw = await self._body(endpoint, exchange)
        fields = read_fields(raw, boundary)
        summary = RequestSummary(fields.get("model"), 1, stream=fields.get("stream") == "true", characters=0)
        self._require_model(exchange.key, summary)
        return raw, summary, audio_tokens(len(raw), self._settings.tokens)

    async def _json(
        self, endpoint: Endpoint, exchange: GuardedExchange, scope: Scope, path: str
    ) -> tuple[bytes, RequestSummary, int]:
        kind = exchange.headers.get(b"content-type", b"")
        if kind != b"application/json" and kind.split(b";")[0].strip().lower() != b"application/json":
            raise Refusal(415, "wrong_content_type", "send JSON as content-type application/json", close=True)
        raw = await self._body(endpoint, exchange)
        body = parse(raw)
        summary = self._rules.check(endpoint.name, body)
        if endpoint.name == LORA:
            name, raw = self._adapters.rewrite(path, body)
            summary = replace(summary, model=name)
            _set_length(scope, len(raw))
        self._require_model(exchange.key, summary)
        if self._settings.audit.prompts:
            exchange.prompt = body
        if every_tool_may_be_called(body.get("tool_choice")) and isinstance(body.get("tools"), list):
            tools = self_contained(body["tools"])
            if tools is not body["tools"]:
                body = {**body, "tools": tools}
                raw = to_json(body)
                _set_length(scope, len(raw))
        for constraint in constraints(body):
            exchange.context = replace(self._context, constrained=constraint.field)
            if self._compiler is not None:
                await self._compiler.check(constraint)
        if not endpoint.queued or not _counts(exchange.key):
            return raw, summary, 0
        return raw, summary, most_tokens(endpoint.name, body, self._settings.tokens, summary.answers)

    def _identify(self, exchange: GuardedExchange, endpoint: Endpoint) -> Key | None:
        """Return the key of a request, None when the server asks for none; counts it against its limits."""
        shown = presented_key(exchange.headers)
        if self._settings.internal_key_sha256 is not None and shown.startswith(INTERNAL_PREFIX):
            if not self.is_internal(shown):
                raise Refusal(401, "wrong_key", "this key is not known here")
            exchange.key = SUPERVISOR
            return SUPERVISOR
        if self.keys is None:
            return None
        key = self.keys.identify(shown, exchange.start)
        exchange.key = key
        require_unexpired(key)
        if not key.may_use(endpoint.name, by_name_only=endpoint.name in BY_NAME_ONLY):
            raise Refusal(403, "endpoint_scope", f"this key may not use {endpoint.name}")
        self.rates.admit(key)
        return key

    def is_internal(self, shown: str) -> bool:
        """Whether a key is the supervisor's own."""
        internal = self._settings.internal_key_sha256
        if internal is None or not shown.startswith(INTERNAL_PREFIX):
            return False
        return compare_digest(digest(shown), internal)

    async def discard_body(self, endpoint: Endpoint, exchange: GuardedExchange) -> None:
        """Read a body that nobody wants, lest the connection be reset before the answer is read."""
        if endpoint.body != "none":
            await self._body(endpoint, exchange)

    def _body(self, endpoint: Endpoint, exchange: GuardedExchange) -> Coroutine[Any, Any, bytes]:
        """Read the body within its bounds of size and time."""
        limits = self._limits
        limit = limits.max_upload_bytes if endpoint.body == "upload" else limits.max_body_bytes
        return exchange.read_body(limit, limits.body_timeout_s)


def _counts(key: Key | None) -> bool:
    return key is not None and not (key.tokens_per_minute is key.tokens_per_day is None)


def _set_length(scope: Scope, length: int) -> None:
    scope["headers"] = [
        *(pair for pair in scope["headers"] if pair[0] != _CONTENT_LENGTH),
        (_CONTENT_LENGTH, str(length).encode()),
    ]
