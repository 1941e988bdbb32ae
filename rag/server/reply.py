"""A reply in OpenAI's shape, whole, as a stream or an error, with ours under `quantserve`."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from quantserve.core.errors import InputError, QuantserveError, UsageError
from quantserve.core.files import Locked
from quantserve.core.http.refusal import Refusal
from quantserve.rag.answer import AnswerFailed
from quantserve.rag.errors import IndexMismatch, NoIndex, ServerUnavailable, StoreUnavailable
from quantserve.rag.server.engine import ServedAnswer
from quantserve.rag.server.gate import AnswerRecord, exchange_of
from quantserve.rag.server.live import Done, Event, Failed, LiveAnswer, PassagesFound, TextPiece
from quantserve.rag.server.service import Service
from quantserve.rag.server.views import (
    extension_view,
    finish_reason,
    rest_of,
    rounded_seconds,
    sources_view,
    usage_view,
)

_RETRY_S = 2


def refusal_for(error: QuantserveError, extension: dict[str, Any] | None = None) -> Refusal:
    """Return what a client reads of an expected failure of ours.

    An absent index is 404, not 503: clients of OpenAI's kind would otherwise ask again and again.
    """
    if isinstance(error, NoIndex):
        message = "nothing has been indexed yet. Add a document first"
        return Refusal(404, "no_index", message, extension=extension)
    if isinstance(error, IndexMismatch):
        return Refusal(409, "index_mismatch", str(error), extension=extension)
    if isinstance(error, ServerUnavailable):
        return Refusal(503, "model_unavailable", str(error), retry_after_s=_RETRY_S, extension=extension)
    if isinstance(error, StoreUnavailable):
        return Refusal(503, "store_unavailable", str(error), retry_after_s=_RETRY_S, extension=extension)
    if isinstance(error, Locked):
        return Refusal(409, "locked", str(error), retry_after_s=_RETRY_S, extension=extension)
    if isinstance(error, InputError | UsageError):
        return Refusal(400, "invalid_value", str(error), extension=extension)
    return Refusal(500, "failed", str(error), extension=extension)


@dataclass
class ChatReply:
    """One reply in the making."""

    service: Service
    request: Request
    wants_usage: bool
    """Whether a stream shall end with the tokens it took."""
    notes: tuple[str, ...]
    record: AnswerRecord

    @property
    def identity(self) -> dict[str, Any]:
        """Fields that every object of this reply has."""
        return {
            "id": f"chatcmpl-{exchange_of(self.request).id}",
            "created": int(exchange_of(self.request).began_ns / 1e9),
            "model": self.service.config.model_name,
        }

    def extension(self, answered: ServedAnswer) -> dict[str, Any]:
        """Return `quantserve` and note the answer."""
        answer, record = answered.answer, self.record
        record.passages = tuple((p.chunk.id, p.score) for p in answer.passages)
        record.seconds = rounded_seconds(answer.seconds)
        record.mode, record.language, record.model = answer.mode, answer.language, answer.model
        record.generation = answered.generation
        record.prompt_tokens, record.completion_tokens = answer.prompt_tokens, answer.completion_tokens
        record.cached, record.judged, record.guard = answer.cached, answer.judged, answer.guard
        record.invented_citations = answer.invented_citations
        record.notes = answer.notes
        request_id = exchange_of(self.request).id
        return extension_view(answered, request_id, self.service.config.upload_dir.absolute(), self.notes)

    def failure(self, failed: Failed) -> Refusal:
        """Return the refusal; passages that were found go with it."""
        error = failed.error
        extension = None
        if isinstance(error, AnswerFailed):
            self.record.passages = tuple((p.chunk.id, p.score) for p in error.passages)
            folder = self.service.config.upload_dir.absolute()
            extension = {"sources": sources_view(error.passages, folder), "text": error.partial}
        refusal = refusal_for(error, extension)
        exchange_of(self.request).code = refusal.code
        return refusal

    def whole(self, answered: ServedAnswer) -> dict[str, Any]:
        """Return a chat.completion."""
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": answered.answer.text, "refusal": None},
            "logprobs": None,
            "finish_reason": finish_reason(answered.answer),
        }
        return {
            **self.identity,
            "object": "chat.completion",
            "choices": [choice],
            "usage": usage_view(answered.answer),
            "quantserve": self.extension(answered),
        }

    def chunk(self, delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
        """Return a chat.completion.chunk as a server-sent event."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk = {**self.identity, "object": "chat.completion.chunk", "choices": [choice], **more}
        if self.wants_usage:
            chunk.setdefault("usage", None)
        return _event(chunk)

    def usage_chunk(self, answered: ServedAnswer) -> str:
        """Return the chunk that only carries usage."""
        chunk = {**self.identity, "object": "chat.completion.chunk", "choices": []}
        return _event({**chunk, "usage": usage_view(answered.answer)})

    async def stream(
        self, live: LiveAnswer, first: Event, rest: AsyncGenerator[Event, None]
    ) -> AsyncIterator[str]:
        """Yield server-sent events: role and passages, text, then the sources with the finish reason."""
        streamed = ""
        event: Event | None = first
        folder = self.service.config.upload_dir.absolute()
        try:
            while event is not None:
                if isinstance(event, PassagesFound):
                    found = {"passages": sources_view(event.passages, folder)}
                    yield self.chunk({"role": "assistant", "content": ""}, quantserve=found)
                elif isinstance(event, TextPiece):
                    streamed += event.piece
                    yield self.chunk({"content": event.piece})
                elif isinstance(event, Done):
                    answer, extension = event.answered.answer, self.extension(event.answered)
                    if rest_text := rest_of(streamed, answer):
                        yield self.chunk({"content": rest_text})
                    yield self.chunk({}, finish_reason(answer), quantserve=extension)
                    if self.wants_usage:
                        yield self.usage_chunk(event.answered)
                    yield "data: [DONE]\n\n"
                elif isinstance(event, Failed):
                    yield f"data: {self.failure(event).body().decode()}\n\n"
                else:
                    yield ": still working\n\n"
                event = await anext(rest, None)
        finally:
            self.record.client_left = live.left
            await rest.aclose()


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
