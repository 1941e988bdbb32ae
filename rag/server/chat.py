"""/v1/chat/completions and /v1/models, so that any OpenAI client is a client.

From a body, checked field by field, to what is asked of the engine, and back as OpenAI's clients read it.
Names that OpenAI's API does not have are refused.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from quantserve.core.http.exchange import CLIENT_LEFT_STATUS
from quantserve.core.http.refusal import Refusal
from quantserve.rag.config import AnswerMode, RetrieveConfig, RetrieveMode
from quantserve.rag.server.config import ServerConfig
from quantserve.rag.server.engine import AnswerRequest
from quantserve.rag.server.gate import AnswerRecord, exchange_of
from quantserve.rag.server.live import Done, Event, Failed, LiveAnswer
from quantserve.rag.server.reply import ChatReply
from quantserve.rag.server.service import Service
from quantserve.rag.server.views import question_hash

_CREATED = int(time.time())


class _StrictBody(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TextPart(_StrictBody):
    """A part of a message; only text is understood."""

    type: Literal["text", "input_text"]
    text: str


class ChatMessage(_StrictBody):
    """One message."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | tuple[TextPart, ...]
    name: str | None = None
    refusal: str | None = None

    @property
    def text(self) -> str:
        """The content as one string."""
        return self.content if isinstance(self.content, str) else "\n".join(p.text for p in self.content)


class StreamOptions(_StrictBody):
    """`stream_options`."""

    include_usage: bool = False
    include_obfuscation: bool | None = None


class Options(_StrictBody):
    """`quantserve` in a request: what is asked of this answer beyond OpenAI's fields."""

    mode: AnswerMode | None = Field(None, description="auto, generate or extract")
    retrieve: RetrieveMode | None = Field(None, description="hybrid, hybrid-rrf, dense or bm25")
    top_k: int | None = Field(None, ge=1, description="passages to find")
    use_system: bool = Field(False, description="let the client's system message replace the rules")


class ChatRequest(_StrictBody):
    """The body of /v1/chat/completions."""

    model: str = ""
    messages: tuple[ChatMessage, ...] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    n: Annotated[int, Field(ge=1, le=1)] | None = None
    quantserve: Options = Options.model_validate({})
    # Asking for something the answer cannot hold is refused; the empty value changes nothing.
    tools: Annotated[tuple[Any, ...], Field(max_length=0)] | None = None
    functions: Annotated[tuple[Any, ...], Field(max_length=0)] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    logprobs: Literal[False] | None = None
    top_logprobs: Literal[0] | None = None
    response_format: TextFormat | None = None
    modalities: tuple[Literal["text"], ...] | None = None
    # Accepted and without effect; the answer's `notes` name those that were given.
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    seed: int | None = None
    stop: str | tuple[str, ...] | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @property
    def ignored(self) -> tuple[str, ...]:
        """Fields that would change the answer elsewhere, were given, and do nothing here."""
        return tuple(name for name in _WITHOUT_EFFECT if getattr(self, name) is not None)


_WITHOUT_EFFECT = ("top_p", "frequency_penalty", "presence_penalty", "logit_bias", "seed", "stop")


class TextFormat(_StrictBody):
    """`response_format`: plain text is all there is."""

    type: Literal["text"]


ChatRequest.model_rebuild()


def read_request(
    body: ChatRequest, config: ServerConfig, retrieve: RetrieveConfig
) -> tuple[AnswerRequest, tuple[str, ...]]:
    """Return what is asked, and notes on what will not be done; `retrieve` are the server's own options.

    Raises:
        Refusal: 400 or 404 with the name of the field.
    """
    bounds, notes = config.bounds, []
    if body.model not in ("", config.model_name):
        known = config.model_name
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
    asked = AnswerRequest(
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
        asked, notes = read_request(body, service.config, service.engine.config.retrieve)
        record = AnswerRecord(question_hash(asked.question))
        exchange_of(request).record = record
        live = LiveAnswer(service.engine, asked, service.turns.of(exchange_of(request).key))
        record.times = live.times
        options = body.stream_options
        wants_usage = options is not None and options.include_usage
        reply = ChatReply(service, request, wants_usage, notes, record)
        events = live.events(request)
        if not body.stream:
            return await _answer_at_once(reply, live, events)
        # The first event decides the status: what fails before anything is found is a plain error.
        first = await anext(events, None)
        if first is None:
            record.client_left = True
            return Response(status_code=CLIENT_LEFT_STATUS)
        if isinstance(first, Failed):
            await events.aclose()
            raise reply.failure(first)
        headers = {"X-Accel-Buffering": "no"}
        return StreamingResponse(
            reply.stream(live, first, events), media_type="text/event-stream", headers=headers
        )

    return router


async def _answer_at_once(
    reply: ChatReply, live: LiveAnswer, events: AsyncGenerator[Event, None]
) -> Response:
    async for event in events:
        if isinstance(event, Done):
            return JSONResponse(reply.whole(event.answered))
        if isinstance(event, Failed):
            raise reply.failure(event)
    reply.record.client_left = live.left
    return Response(status_code=CLIENT_LEFT_STATUS)


def _model(service: Service) -> dict[str, Any]:
    return {
        "id": service.config.model_name,
        "object": "model",
        "created": _CREATED,
        "owned_by": "quantserve",
    }
