"""/v1/chat/completions and /v1/models, so that any OpenAI client is a client."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from rag.answer import AnswerFailed
from rag.server.engine import Answered, Asked, facts_of
from rag.server.exchange import AnswerRecord, exchange_of
from rag.server.live import Done, Event, Failed, Found, LiveAnswer, Text
from rag.server.refusal import Refusal, refusal_for
from rag.server.schemas import ChatRequest
from rag.server.service import Service
from rag.server.views import extension_view, rest_of, sources_view, stage_seconds, usage_view
from rag.text import normalise

_CREATED = int(time.time())


def question_hash(question: str) -> str:
    """Return what the log knows a question by."""
    return hashlib.sha256(normalise(question).encode()).hexdigest()[:32]


def _asked(body: ChatRequest, service: Service) -> tuple[Asked, tuple[str, ...]]:
    """Return what is asked, and notes on what will not be done.

    Raises:
        Refusal: 400 or 404 with the name of the field.
    """
    bounds, notes = service.config.bounds, []
    if body.model not in ("", service.config.model_name):
        known = service.config.model_name
        raise Refusal(
            404, "model_not_found", f"there is no model '{body.model}' here, only {known}", param="model"
        )
    if len(body.messages) > bounds.max_messages:
        raise _too_much(f"more than {bounds.max_messages} messages", "messages")
    last = body.messages[-1]
    if last.role != "user" or not last.text.strip():
        raise Refusal(400, "invalid_value", "the last message must be the user's question", param="messages")
    if len(last.text) > bounds.max_question_chars:
        raise _too_much(f"the question is longer than {bounds.max_question_chars:,} characters", "messages")
    if any(len(message.text) > bounds.max_message_chars for message in body.messages):
        raise _too_much(f"a message is longer than {bounds.max_message_chars:,} characters", "messages")
    options = body.quantserve
    if options.top_k is not None and options.top_k > bounds.max_top_k:
        raise _too_much(f"{bounds.max_top_k} passages are the most", "quantserve.top_k")
    systems = [m.text for m in body.messages if m.role in ("system", "developer")]
    if systems and not options.use_system:
        notes.append("the system message was not used; quantserve.use_system makes it replace the rules")
    if body.ignored:
        notes.append(f"without effect here: {', '.join(body.ignored)}")
    retrieve = service.engine.config.retrieve
    if options.retrieve is not None:
        retrieve = replace(retrieve, mode=options.retrieve)
    if options.top_k is not None:
        retrieve = replace(retrieve, top_k=options.top_k)
    tokens = body.max_completion_tokens or body.max_tokens
    if tokens is not None and tokens > bounds.max_answer_tokens:
        notes.append(f"answers end after {bounds.max_answer_tokens} tokens")
        tokens = bounds.max_answer_tokens
    history = tuple(
        {"role": m.role, "content": m.text} for m in body.messages[:-1] if m.role in ("user", "assistant")
    )
    asked = Asked(
        question=last.text,
        retrieve=retrieve,
        history=history,
        system="\n".join(systems) if options.use_system else "",
        mode=options.mode,
        max_tokens=tokens,
        temperature=body.temperature,
    )
    return asked, tuple(notes)


def _too_much(message: str, param: str) -> Refusal:
    return Refusal(400, "limit_exceeded", message, param=param)


@dataclass
class _Reply:
    """One reply in the making."""

    service: Service
    request: Request
    body: ChatRequest
    notes: tuple[str, ...]
    record: AnswerRecord

    @property
    def identity(self) -> dict[str, Any]:
        """Fields that every object of this reply has."""
        return {
            "id": f"chatcmpl-{exchange_of(self.request).request_id}",
            "created": int(exchange_of(self.request).began_ns / 1e9),
            "model": self.service.config.model_name,
        }

    def extension(self, answered: Answered) -> dict[str, Any]:
        """Return `quantserve` and note the answer."""
        answer, record, facts = answered.answer, self.record, facts_of(answered.answer)
        record.passages = tuple((p.chunk.id, p.score) for p in answer.passages)
        record.seconds = stage_seconds(answer, answered.found)
        record.mode, record.language, record.model = answer.mode, answer.language, answer.model
        record.generation = answered.generation
        record.prompt_tokens, record.completion_tokens = answer.prompt_tokens, answer.completion_tokens
        record.cached, record.guard = facts.cached, facts.guard
        record.invented_citations = answer.invented_citations
        record.notes = answered.found.notes
        request_id = exchange_of(self.request).request_id
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
        exchange_of(self.request).reason = refusal.code
        return refusal

    def whole(self, answered: Answered) -> dict[str, Any]:
        """Return a chat.completion."""
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": answered.answer.text, "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
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
        if self.body.stream_options is not None and self.body.stream_options.include_usage:
            chunk.setdefault("usage", None)
        return _event(chunk)

    def usage_chunk(self, answered: Answered) -> str:
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
                if isinstance(event, Found):
                    found = {"passages": sources_view(event.passages, folder)}
                    yield self.chunk({"role": "assistant", "content": ""}, quantserve=found)
                elif isinstance(event, Text):
                    streamed += event.piece
                    yield self.chunk({"content": event.piece})
                elif isinstance(event, Done):
                    extension = self.extension(event.answered)
                    if rest_text := rest_of(streamed, event.answered.answer.text):
                        yield self.chunk({"content": rest_text})
                    yield self.chunk({}, "stop", quantserve=extension)
                    if self.body.stream_options is not None and self.body.stream_options.include_usage:
                        yield self.usage_chunk(event.answered)
                    yield "data: [DONE]\n\n"
                elif isinstance(event, Failed):
                    yield _event(self.failure(event).body())
                else:
                    yield ": still working\n\n"
                event = await anext(rest, None)
        finally:
            self.record.client_left = live.left
            await rest.aclose()


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def chat_routes(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter()

    @router.get("/v1/models")
    async def models() -> JSONResponse:
        return JSONResponse({"object": "list", "data": [_model(service)]})

    @router.get("/v1/models/{name:path}")
    async def model(name: str) -> JSONResponse:
        if name != service.config.model_name:
            raise Refusal(404, "model_not_found", f"there is no model '{name[:80]}' here", param="model")
        return JSONResponse(_model(service))

    @router.post("/v1/chat/completions")
    async def chat(request: Request, body: ChatRequest) -> Response:
        asked, notes = _asked(body, service)
        record = AnswerRecord(question_hash(asked.question))
        exchange_of(request).answer = record
        live = LiveAnswer(service.engine, asked, service.turns)
        record.times = live.times
        reply = _Reply(service, request, body, notes, record)
        events = live.events(request)
        if not body.stream:
            return await _answer_at_once(reply, live, events)
        # The first event decides the status: what fails before anything is found is a plain error.
        first = await anext(events, None)
        if first is None:
            record.client_left = True
            return Response(status_code=499)
        if isinstance(first, Failed):
            await events.aclose()
            raise reply.failure(first)
        headers = {"X-Accel-Buffering": "no"}
        return StreamingResponse(
            reply.stream(live, first, events), media_type="text/event-stream", headers=headers
        )

    return router


async def _answer_at_once(reply: _Reply, live: LiveAnswer, events: AsyncGenerator[Event, None]) -> Response:
    async for event in events:
        if isinstance(event, Done):
            return JSONResponse(reply.whole(event.answered))
        if isinstance(event, Failed):
            raise reply.failure(event)
    reply.record.client_left = live.left
    return Response(status_code=499)


def _model(service: Service) -> dict[str, Any]:
    return {
        "id": service.config.model_name,
        "object": "model",
        "created": _CREATED,
        "owned_by": "quantserve",
    }
