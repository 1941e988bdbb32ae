"""/v1/chat/completions and /v1/models, so that any OpenAI client is a client."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from quantserve.rag.server.asking import question_hash, read_request
from quantserve.rag.server.exchange import AnswerRecord, exchange_of
from quantserve.rag.server.live import Done, Event, Failed, LiveAnswer
from quantserve.rag.server.refusal import Refusal
from quantserve.rag.server.reply import Reply
from quantserve.rag.server.schemas import ChatRequest
from quantserve.rag.server.service import Service

_CREATED = int(time.time())
_CLIENT_LEFT = 499
"""Nobody reads it; the log does."""


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
        exchange_of(request).answer = record
        live = LiveAnswer(service.engine, asked, service.turns.of(exchange_of(request).key))
        record.times = live.times
        reply = Reply(service, request, body, notes, record)
        events = live.events(request)
        if not body.stream:
            return await _answer_at_once(reply, live, events)
        # The first event decides the status: what fails before anything is found is a plain error.
        first = await anext(events, None)
        if first is None:
            record.client_left = True
            return Response(status_code=_CLIENT_LEFT)
        if isinstance(first, Failed):
            await events.aclose()
            raise reply.failure(first)
        headers = {"X-Accel-Buffering": "no"}
        return StreamingResponse(
            reply.stream(live, first, events), media_type="text/event-stream", headers=headers
        )

    return router


async def _answer_at_once(reply: Reply, live: LiveAnswer, events: AsyncGenerator[Event, None]) -> Response:
    async for event in events:
        if isinstance(event, Done):
            return JSONResponse(reply.whole(event.answered))
        if isinstance(event, Failed):
            raise reply.failure(event)
    reply.record.client_left = live.left
    return Response(status_code=_CLIENT_LEFT)


def _model(service: Service) -> dict[str, Any]:
    return {
        "id": service.config.model_name,
        "object": "model",
        "created": _CREATED,
        "owned_by": "quantserve",
    }
