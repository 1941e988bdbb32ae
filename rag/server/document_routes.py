"""/documents: add, list, delete, and the jobs that index; the originals of PDFs and other files."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse

from quantserve.core.terminal import one_line
from quantserve.rag.ingest.names import key_of, path_of
from quantserve.rag.loaders.registry import LOADERS
from quantserve.rag.server.exchange import exchange_of
from quantserve.rag.server.refusal import Refusal
from quantserve.rag.server.service import Service
from quantserve.rag.server.uploads import receive_files
from quantserve.rag.server.views import document_id, document_view


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
        folder = service.config.upload_dir.absolute()
        uploaded = await receive_files(request, folder, service.config.bounds)
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
