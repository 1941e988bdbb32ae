"""/search, and /passages, where a citation leads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse

from quantserve.core.errors import QuantserveError
from quantserve.rag.server.asking import question_hash
from quantserve.rag.server.exchange import AnswerRecord, exchange_of
from quantserve.rag.server.refusal import Refusal, refusal_for
from quantserve.rag.server.schemas import SearchRequest
from quantserve.rag.server.service import Service
from quantserve.rag.server.surroundings import surroundings_of
from quantserve.rag.server.views import chunk_view, sources_view
from quantserve.rag.text import well_formed


def _passage(service: Service, identity: str) -> dict[str, Any]:
    generation = service.engine.generation()
    chunk = generation.chunks.find(identity) if generation is not None else None
    if generation is None or chunk is None:
        raise Refusal(404, "no_passage", "the passage is not in the index any more; ask again")
    near = [other for _, other in generation.chunks.of_file(chunk.path)]
    around = surroundings_of(chunk, near)
    view = chunk_view(chunk, service.config.upload_dir.absolute())
    return {**view, "before": around.before, "after": around.after}


def search_routes(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter()

    @router.post("/search")
    async def search(request: Request, body: SearchRequest) -> JSONResponse:
        bounds, retrieve = service.config.bounds, service.engine.config.retrieve
        if len(body.query) > bounds.max_question_chars:
            raise Refusal(400, "limit_exceeded", "the query is too long", param="query")
        if body.top_k is not None:
            if body.top_k > bounds.max_top_k:
                raise Refusal(
                    400, "limit_exceeded", f"{bounds.max_top_k} passages are the most", param="top_k"
                )
            retrieve = replace(retrieve, top_k=body.top_k)
        if body.retrieve is not None:
            retrieve = replace(retrieve, mode=body.retrieve)
        record = AnswerRecord(question_hash(body.query))
        exchange_of(request).answer = record
        try:
            found = await service.in_thread(lambda: service.engine.search(body.query, retrieve))
        except QuantserveError as error:
            raise refusal_for(error) from error
        record.passages = tuple((p.chunk.id, p.score) for p in found.passages)
        record.seconds = {**found.seconds, "retrieve": sum(found.seconds.values())}
        record.notes = found.notes
        folder = service.config.upload_dir.absolute()
        return JSONResponse(
            {
                "object": "list",
                "query": well_formed(body.query),
                "retrieve": retrieve.mode,
                "data": sources_view(found.passages, folder),
                "seconds": {name: round(value, 4) for name, value in record.seconds.items()},
                "notes": list(found.notes),
            }
        )

    @router.get("/passages/{identity}")
    async def passage(identity: str) -> JSONResponse:
        return JSONResponse(await service.in_thread(lambda: _passage(service, identity)))

    return router
