"""What is in the index: /documents and their jobs, /search, and /passages, where a citation leads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse

from quantserve.core.errors import QuantserveError
from quantserve.core.http.refusal import Refusal
from quantserve.core.terminal import one_line
from quantserve.rag.config import RetrieveMode
from quantserve.rag.ingest.names import key_of, path_of
from quantserve.rag.loaders.registry import LOADERS
from quantserve.rag.server.gate import AnswerRecord, exchange_of
from quantserve.rag.server.indexing.uploads import receive_files
from quantserve.rag.server.reply import refusal_for
from quantserve.rag.server.service import Service
from quantserve.rag.server.views import (
    chunk_view,
    document_id,
    document_view,
    question_hash,
    sources_view,
    surroundings_of,
)
from quantserve.rag.text import well_formed


class SearchRequest(BaseModel):
    """The body of /search."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    query: str
    top_k: int | None = Field(None, ge=1)
    retrieve: RetrieveMode | None = None


def _key_of(service: Service, identity: str) -> str:
    generation = service.engine.generation()
    for key in generation.manifest.files if generation is not None else ():
        if document_id(key) == identity:
            return key
    raise Refusal(404, "no_document", f"there is no document {identity[:40]}")


def _listed(service: Service) -> dict[str, Any]:
    folder = service.config.upload_dir.absolute()
    generation = service.engine.generation()
    files = generation.manifest.files if generation is not None else {}
    return {
        "object": "list",
        "generation": generation.name if generation is not None else None,
        "passages": generation.manifest.chunks if generation is not None else 0,
        "kinds": list(LOADERS),
        "max_bytes": service.config.bounds.max_upload_bytes,
        "data": [document_view(key, entry, folder) for key, entry in files.items()],
        "jobs": [job.view() for job in service.jobs.all() if job.state in ("queued", "running")],
    }


def document_routes(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter()

    @router.get("/documents")
    async def listed() -> JSONResponse:
        return JSONResponse(await service.in_thread(lambda: _listed(service)))

    @router.post("/documents", status_code=202)
    async def add(request: Request) -> JSONResponse:
        owner = exchange_of(request).key
        service.jobs.require_room(owner)
        folder, bounds = service.config.upload_dir.absolute(), service.config.bounds
        uploaded = await receive_files(
            request, folder, max_files=bounds.max_files, max_bytes=bounds.max_upload_bytes
        )
        keys = [key_of(path) for path in uploaded.paths]
        job = service.jobs.add("add", keys, owner=owner, skipped=uploaded.skipped)
        return JSONResponse(job.view(), status_code=202)

    @router.get("/documents/jobs/{identity}")
    async def job(identity: str) -> JSONResponse:
        return JSONResponse(service.jobs.find(identity).view())

    @router.delete("/documents/{identity}", status_code=202)
    async def delete(request: Request, identity: str) -> JSONResponse:
        key = await service.in_thread(lambda: _key_of(service, identity))
        job = service.jobs.add("remove", [key], owner=exchange_of(request).key)
        return JSONResponse(job.view(), status_code=202)

    @router.post("/documents/{identity}/ticket")
    async def ticket(identity: str) -> JSONResponse:
        await service.in_thread(lambda: _key_of(service, identity))
        return JSONResponse({"url": service.tickets.address(identity)})

    @router.get("/documents/{identity}/file")
    async def file(identity: str) -> FileResponse:
        key = await service.in_thread(lambda: _key_of(service, identity))
        path = path_of(key)
        if not PurePath(key).is_absolute() or not path.is_file():
            raise Refusal(404, "no_file", "the original is not on this machine any more")
        # Only a PDF is shown; everything else is handed over as bytes, so that no page of a stranger's
        # runs under this address.
        is_pdf = path.suffix.lower() == ".pdf"
        return FileResponse(
            path,
            media_type="application/pdf" if is_pdf else "application/octet-stream",
            headers={
                "Content-Disposition": f"{'inline' if is_pdf else 'attachment'}; "
                f"filename*=UTF-8''{quote(one_line(path.name))}",
                # The page's policy would also forbid the browser's own viewer of PDF.
                "Content-Security-Policy": "frame-ancestors 'none'",
            },
        )

    return router


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
        exchange_of(request).record = record
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
