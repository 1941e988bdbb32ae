"""Whether a request may come in: one question after the other, the cheap ones first.

Other site's page → key, scope, rate → task → content type, size, time → fields → compiled constraints →
queue → tokens set aside. Nothing of a body is read before the key is known, and every step takes time in
proportion to the body at most.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime
from hmac import compare_digest
from pathlib import Path

from pydantic_core import to_json

from quantserve.core.origin import WHY, foreign
from quantserve.serving.guard.body import parse
from quantserve.serving.guard.bounds import audio_tokens, most_tokens
from quantserve.serving.guard.engine_errors import Context
from quantserve.serving.guard.exchange import Exchange, Scope, body_too_large
from quantserve.serving.guard.grammars import Compiler, constraints, every_tool_may_be_called
from quantserve.serving.guard.internal import FRONT_HEADER, INTERNAL_PREFIX
from quantserve.serving.guard.keys import Key, KeyRing, digest
from quantserve.serving.guard.lora import OfferedAdapters
from quantserve.serving.guard.metering import Meter, salt_of
from quantserve.serving.guard.paths import LORA, Endpoint, PathTable
from quantserve.serving.guard.rates import RateLimits
from quantserve.serving.guard.refusal import Refusal
from quantserve.serving.guard.rules import Asked, Rules
from quantserve.serving.guard.settings import GuardSettings
from quantserve.serving.guard.slots import Slots
from quantserve.serving.guard.task_probe import INTERNAL
from quantserve.serving.guard.tool_schemas import self_contained
from quantserve.serving.guard.upload import boundary_of, read_fields

SUPERVISOR = Key(id="0" * 8, name="supervisor", sha256="0" * 64, created=datetime(2000, 1, 1, tzinfo=UTC))
_FRONT = FRONT_HEADER.lower().encode()
_FORWARDED = b"x-forwarded-for"
_CONTENT_LENGTH = b"content-length"
_FOR_THE_ENGINE = frozenset(
    {
        *(b"host", b"user-agent", b"accept", b"accept-encoding", b"x-request-id"),
        *(b"content-type", _CONTENT_LENGTH, b"transfer-encoding", b"traceparent", b"tracestate"),
    }
)
"""Headers that are handed on. The engine reads others, which would let a client choose its place in the queue
or the copy that answers; keys and cookies are none of its business."""


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
        self._rules = Rules(settings)
        self._context = Context(settings.tokens.window)
        self._compiler = (
            Compiler(Path(settings.tokenizer), settings.limits.max_schema_cpu_s)
            if settings.tokenizer is not None
            else None
        )
        self.keys = KeyRing(Path(settings.keys_file)) if settings.keys_file is not None else None
        self.rates = RateLimits(time.monotonic, time.time)
        self.slots = Slots(settings.limits.max_requests)

    async def close(self) -> None:
        """End what runs beside."""
        if self._compiler is not None:
            await self._compiler.close()

    def meet(self, exchange: Exchange, scope: Scope) -> None:
        """See who stands at the door: the front before replicas, a page, another site's page.

        Raises:
            Refusal: 403 for another site's page, where no key would keep it out.
        """
        headers = exchange.headers
        front = headers.get(_FRONT)
        from_front = front is not None and self.is_internal(front.decode("latin-1"))
        if from_front:
            exchange.client = headers.get(_FORWARDED, b"").decode("latin-1") or exchange.client
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] in _FOR_THE_ENGINE]
        origin = headers.get(b"origin")
        if self.keys is not None:
            exchange.allow_origin = origin  # whoever has a key may use it from any page
            return
        if not from_front:
            self._require_own(exchange, origin)
        exchange.allow_origin = origin

    def require_own(self, exchange: Exchange) -> None:
        """Refuse another site's page on a path that is open although keys are asked for.

        Raises:
            Refusal: 403.
        """
        front = exchange.headers.get(_FRONT)
        if front is None or not self.is_internal(front.decode("latin-1")):
            self._require_own(exchange, exchange.headers.get(b"origin"))

    def _require_own(self, exchange: Exchange, origin: bytes | None) -> None:
        host = exchange.headers.get(b"host", b"").decode("latin-1")
        page = origin.decode("latin-1") if origin is not None else None
        why = foreign(host, page, self._settings.allowed_origins)
        if why is not None:
            raise Refusal(403, why, WHY[why], close=True)

    async def admit(self, endpoint: Endpoint, exchange: Exchange, scope: Scope, path: str) -> bytes | None:
        """Decide; return the body as the engine gets it. Afterwards the exchange holds its slots and tokens.

        Raises:
            Refusal: the request may not come in.
        """
        key = self._identify(exchange, endpoint)
        exchange.key = key
        scope[INTERNAL] = key is SUPERVISOR
        if key is not SUPERVISOR:  # whose probe asks every server for one token, whatever it serves
            self._paths.require_task(endpoint, path)
        salted = key is not None and key is not SUPERVISOR and not self._settings.share_prefix_cache
        exchange.meter = Meter(salt_of(key.id) if salted and key is not None else None)
        exchange.context = self._context
        if endpoint.body == "none":
            return None
        if endpoint.body == "upload":
            raw, asked, most = await self._upload(endpoint, exchange)
        else:
            raw, asked, most = await self._json(endpoint, exchange, scope, path)
        exchange.asked = asked
        if asked.no_answer:
            exchange.context = replace(exchange.context or self._context, asked_for_none=True)
        self._take(endpoint, exchange, asked, most)
        return raw

    def _require_model(self, key: Key | None, asked: Asked) -> None:
        if key is not None and not key.may_ask(asked.model or self._settings.artifact.name):
            raise Refusal(
                403, "model_scope", f"this key may not use the model {asked.model!r}", param="model"
            )

    def _take(self, endpoint: Endpoint, exchange: Exchange, asked: Asked, most: int) -> None:
        """Take places in the queue and tokens of the key; both or none."""
        key = exchange.key
        if not endpoint.queued or key is SUPERVISOR:  # the supervisor's probe must tell full from dead
            return
        self.slots.take(asked.sequences)
        if key is not None:
            try:
                exchange.reservation = self.rates.reserve(key, most)
            except Refusal:
                self.slots.give_back(asked.sequences)
                raise
        exchange.sequences = asked.sequences

    async def _upload(self, endpoint: Endpoint, exchange: Exchange) -> tuple[bytes, Asked, int]:
        boundary = boundary_of(exchange.headers.get(b"content-type", b""))
        raw = await self._body(endpoint, exchange)
        fields = read_fields(raw, boundary)
        asked = Asked(fields.get("model"), 1, stream=fields.get("stream") == "true", characters=0)
        self._require_model(exchange.key, asked)
        return raw, asked, audio_tokens(len(raw), self._settings.tokens)

    async def _json(
        self, endpoint: Endpoint, exchange: Exchange, scope: Scope, path: str
    ) -> tuple[bytes, Asked, int]:
        kind = exchange.headers.get(b"content-type", b"")
        if kind != b"application/json" and kind.split(b";")[0].strip().lower() != b"application/json":
            raise Refusal(415, "wrong_content_type", "send JSON as content-type application/json", close=True)
        raw = await self._body(endpoint, exchange)
        body = parse(raw)
        asked = self._rules.check(endpoint, body)
        if endpoint.name == LORA:
            name, raw = self._adapters.rewrite(path, body)
            asked = replace(asked, model=name)
            _set_length(scope, len(raw))
        self._require_model(exchange.key, asked)
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
            return raw, asked, 0
        return raw, asked, most_tokens(endpoint.name, body, self._settings.tokens, asked.answers)

    def _identify(self, exchange: Exchange, endpoint: Endpoint) -> Key | None:
        """Return the key of a request, None when the server asks for none; counts it against its limits."""
        shown = presented(exchange)
        if self._settings.internal_key_sha256 is not None and shown.startswith(INTERNAL_PREFIX):
            if not self.is_internal(shown):
                raise Refusal(401, "wrong_key", "this key is not known here")
            exchange.key = SUPERVISOR
            return SUPERVISOR
        if self.keys is None:
            return None
        self.keys.refresh(exchange.start)
        if not shown:
            raise Refusal(401, "no_key", "this server asks for a key: Authorization: Bearer KEY")
        key = self.keys.find(shown)
        if key is None:
            raise Refusal(401, "wrong_key", "this key is not known here")
        exchange.key = key
        if key.expired(datetime.now(UTC)):
            raise Refusal(401, "expired_key", "this key has expired")
        if not key.may_use(endpoint.name):
            raise Refusal(403, "endpoint_scope", f"this key may not use {endpoint.name}")
        self.rates.admit(key)
        return key

    def is_internal(self, shown: str) -> bool:
        """Whether a key is the supervisor's own."""
        internal = self._settings.internal_key_sha256
        if internal is None or not shown.startswith(INTERNAL_PREFIX):
            return False
        return compare_digest(digest(shown), internal)

    async def discard_body(self, endpoint: Endpoint, exchange: Exchange) -> None:
        """Read a body that nobody wants, lest the connection be reset before the answer is read."""
        if endpoint.body != "none":
            await self._body(endpoint, exchange)

    async def _body(self, endpoint: Endpoint, exchange: Exchange) -> bytes:
        """Read the body within its bounds of size and time."""
        limits = self._limits
        limit = limits.max_upload_bytes if endpoint.body == "upload" else limits.max_body_bytes
        length = exchange.headers.get(_CONTENT_LENGTH)
        if length is not None and (not length.isdigit() or len(length) > 18 or int(length) > limit):
            raise body_too_large(limit)
        try:
            async with asyncio.timeout(limits.body_timeout_s):
                return await exchange.read_body(limit)
        except TimeoutError as error:
            message = f"the body did not come within {limits.body_timeout_s:g} s"
            raise Refusal(408, "body_timeout", message, close=True) from error


def presented(exchange: Exchange) -> str:
    """The key a request presents, in OpenAI's header or in Anthropic's; "" without one."""
    scheme, _, shown = exchange.headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return shown.strip()
    return exchange.headers.get(b"x-api-key", b"").decode("latin-1").strip()


def _counts(key: Key | None) -> bool:
    return key is not None and not (key.tokens_per_minute is key.tokens_per_day is None)


def _set_length(scope: Scope, length: int) -> None:
    scope["headers"] = [
        *(pair for pair in scope["headers"] if pair[0] != _CONTENT_LENGTH),
        (_CONTENT_LENGTH, str(length).encode()),
    ]
