"""One request and its response as the guard sees them, and what the engine says of it in our words.

The engine's messages name its own command line, which whoever asks cannot see and whoever serves does not
write. Each flag that is ours under another name is called by that; every other is left out of the message.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from time import perf_counter
from typing import Any

from pydantic_core import from_json

from quantserve.core.http.exchange import REQUEST_ID, HttpExchange, Message, Receive, Scope, Send
from quantserve.core.http.keys import Key
from quantserve.core.http.rates import Reservation
from quantserve.core.http.refusal import Headers, Refusal, bad_value
from quantserve.serving.guard.metering import Meter
from quantserve.serving.guard.request.rules import RequestSummary

_CORS = b"access-control-"
_ERROR_STATUS = 400
_FAILED_STATUS = 500
_MOST_ERROR_BYTES = 1 << 20
_ERROR_EVENTS = (b'data: {"error"', b"event: error\n")
"""How an event begins by which the engine says in a stream that it gave the answer up."""
_DATA = b"data: "
_FAILED = b'{"error": {"message": "Internal server error"}}'
_FLAG = re.compile(r"`?--[a-z][a-z0-9-]{2,60}`?")
_OURS = {
    "--tool-call-parser": "tool_parser in the server's profile",
    "--enable-auto-tool-choice": "tool_parser in the server's profile",
    "--chat-template": "the model's own chat template",
    "--max-model-len": "max_model_length in the server's profile",
}
_NO_ROOM = "max_tokens must be at least 1, got 0"
_GENERATION_FAILED = "Internal server error"
"""All that vLLM says of an answer that it had to give up; with a constraint, because of that."""
_UNNAMED = "an option of the server"
_MOST_CHARS = 4096


@dataclass(frozen=True)
class RequestContext:
    """What the guard knows of the request."""

    window: int
    """Tokens of prompt and answer together."""
    asked_for_none: bool = False
    """Whether it asked for an answer of no tokens itself."""
    constrained: str | None = None
    """The field that holds a schema, pattern or grammar its answer must follow."""


def translate(status: int, body: bytes, context: RequestContext) -> Refusal:
    """Return the refusal that stands for an engine's error."""
    message, param = _read(status, body)
    field = context.constrained
    if field is not None and message == _GENERATION_FAILED:
        return bad_value(
            f"{field} cannot be followed to the end: a part of it that the answer came to takes too much to "
            "compute; make it simpler",
            field,
        )
    reason = "engine_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "engine_refused"
    if _NO_ROOM in message and not context.asked_for_none:
        message = (
            f"the prompt fills the model's window of {context.window} tokens and leaves no room for an "
            "answer; shorten it"
        )
        param, reason = "messages" if param == "messages" else None, "context_length_exceeded"
    elif "maximum context length" in message:
        reason = "context_length_exceeded"
    elif status == HTTPStatus.NOT_FOUND and param == "model":
        reason = "model_not_found"
    return Refusal(status, reason, without_flags(message), param=param)


def without_flags(message: str) -> str:
    """Return a message without vLLM's flags."""
    said: set[str] = set()

    def named(found: re.Match[str]) -> str:
        ours = _OURS.get(found.group().strip("`"), _UNNAMED)
        said.add(ours)
        return ours

    text = _FLAG.sub(named, message[:_MOST_CHARS])
    for ours in said:
        for between in (" and ", " and/or ", " or "):
            text = text.replace(f"{ours}{between}{ours}", ours)
    return text


def _read(status: int, body: bytes) -> tuple[str, str | None]:
    """Return the message and the field of an error in OpenAI's, Anthropic's or FastAPI's shape."""
    try:
        found: Any = from_json(body)
    except ValueError:
        found = None
    if isinstance(found, dict):
        error = found.get("error", found.get("detail"))
        if isinstance(error, dict) and isinstance(error.get("message"), str):
            param = error.get("param")
            return error["message"], param if isinstance(param, str) else None
        if isinstance(error, str):
            return error, None
    return HTTPStatus(status).phrase.lower(), None


class GuardedExchange(HttpExchange):
    """Hands messages on and remembers what the audit log wants to know."""

    __slots__ = (
        "_error",
        "_replaced",
        "_started",
        "allow_origin",
        "anthropic",
        "context",
        "dead",
        "events",
        "first_s",
        "key",
        "meter",
        "named_events",
        "prompt",
        "reservation",
        "sequences",
        "summary",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Nothing is known yet but its id."""
        super().__init__(scope, receive, send)
        self._error: bytearray | None = None
        """The body of an error of the engine's, until it is whole and can be put into our words."""
        self._started = False
        self._replaced = False
        self.dead: Callable[[], Refusal | None] | None = None
        """Asked when the app reports an error of its own: did the engine die under this request?"""
        self.summary: RequestSummary | None = None
        self.key: Key | None = None
        self.prompt: dict[str, Any] | None = None
        """What was asked, where the operator wants it in the audit log."""
        self.sequences = 0
        self.meter = Meter()
        self.reservation: Reservation | None = None
        self.context: RequestContext | None = None
        """What is known of the request where the engine's errors are put into our words."""
        self.anthropic = False
        self.named_events = False
        """Whether each event of a stream has a name, as those of /v1/responses."""
        self.allow_origin: bytes | None = None
        """The origin whose page may read the answer."""
        self.events = 0
        self.first_s: float | None = None

    @property
    def streaming(self) -> bool:
        """Whether the response is a stream of events."""
        return self.events > 0

    async def send(self, message: Message) -> None:
        """Hand a message of the response on."""
        if self._replaced:
            return
        if message["type"] == "http.response.start":
            if message["status"] >= 500 and self.dead is not None:
                refusal = self.dead()
                if refusal is not None:
                    self._replaced = True
                    await self.refuse(refusal)
                    return
            self._begin(message)
            if message["status"] >= _ERROR_STATUS and self.context is not None:
                self._error = bytearray()
                return
        elif message["type"] == "http.response.body":
            if self._error is not None:
                await self._gather_error(message, self._error)
                return
            self._note(message)
            if self._started and message.get("body", b"").startswith(_ERROR_EVENTS):
                message = {**message, "body": self._event_in_our_words(message["body"])}
            if self.head:
                message = {**message, "body": b""}
        await self._send(message)

    def _begin(self, message: Message) -> None:
        self.status = message["status"]
        headers = [
            pair
            for pair in message.get("headers", ())
            if pair[0].lower() != REQUEST_ID and not pair[0].lower().startswith(_CORS)
        ]
        for name, value in headers:
            if name.lower() == b"content-type" and value.startswith(b"text/event-stream"):
                self._started = True
        message["headers"] = [*headers, *self.own_headers()]

    def own_headers(self) -> Headers:
        """Return what every answer has."""
        found = super().own_headers()
        if self.allow_origin is not None:
            found += [
                (b"access-control-allow-origin", self.allow_origin),
                (b"access-control-expose-headers", REQUEST_ID),
                (b"vary", b"origin"),
            ]
        return found

    async def _gather_error(self, message: Message, gathered: bytearray) -> None:
        """Keep an error's body until it is whole; then say it in our words."""
        if len(gathered) < _MOST_ERROR_BYTES:
            gathered += message.get("body", b"")
        if message.get("more_body", False) or self.context is None or self.status is None:
            return
        self._error, self._replaced = None, True
        await self.refuse(translate(self.status, bytes(gathered), self.context))

    def _event_in_our_words(self, event: bytes) -> bytes:
        """Return an error in a stream as a refusal of ours would say it; the status has gone long ago."""
        first, _, rest = event.partition(b"\n\n")
        _, _, found = first.rpartition(_DATA)
        # What vLLM says in Anthropic's shape is how its own reading of the error failed.
        return self._event(_FAILED if self.anthropic else found) + b"\n\n" + rest

    def _event(self, error: bytes) -> bytes:
        if self.context is None:
            return _DATA + error
        refusal = translate(_FAILED_STATUS, error, self.context)
        name = b"event: error\n" if self.anthropic or self.named_events else b""
        return name + _DATA + refusal.body(anthropic=self.anthropic or self.named_events)

    async def break_off(self) -> None:
        """End a stream whose app failed in the middle by an event that says so, rather than by a cut line."""
        body = self._event(_FAILED) + b"\n\n"
        await self._send({"type": "http.response.body", "body": body, "more_body": False})
        self.complete = True

    def _note(self, message: Message) -> None:
        if not message.get("more_body", False):
            self.complete = True
        if self.first_s is None:
            self.first_s = perf_counter() - self.start
        if self._started:
            self.events += 1

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal, in the shape of the API that was asked."""
        body = refusal.body(anthropic=self.anthropic)
        await self.answer(refusal.status, refusal.headers(), body, close=refusal.close)
