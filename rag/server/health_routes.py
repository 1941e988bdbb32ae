"""/healthz, /readyz, /metrics, and what the page needs to know."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import FileResponse, JSONResponse, Response

from quantserve.core.errors import QuantserveError
from quantserve.rag.config import AnswerMode, RetrieveMode
from quantserve.rag.server.service import Service

STATIC = Path(__file__).parent / "static"


def health_routes(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter()

    @router.get("/healthz")
    async def alive() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @router.get("/readyz")
    async def ready() -> JSONResponse:
        generation = service.engine.loaded
        problem = service.engine.problem or (service.keys.problem if service.keys else "")
        state = {
            "status": "ready" if service.is_warm else "failed" if problem else "starting",
            "generation": generation.name if generation is not None else None,
            "problem": problem,
        }
        return JSONResponse(state, status_code=200 if service.is_warm else 503)

    @router.get("/status")
    async def status() -> JSONResponse:
        return JSONResponse(await service.in_thread(lambda: _status(service)))

    @router.get("/metrics")
    async def metrics() -> Response:
        page = await service.in_thread(service.metrics.page)
        return Response(page, media_type=CONTENT_TYPE_LATEST)

    @router.get("/")
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @router.get("/favicon.ico")
    async def icon() -> FileResponse:
        return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")

    return router


def _status(service: Service) -> dict[str, Any]:
    """Return what the page shows in its settings."""
    engine = service.engine
    model, problem = "", ""
    try:
        model = engine.check_model()
    except QuantserveError as error:
        problem = str(error)
    generation = engine.generation()
    return {
        "model": model,
        "problem": problem,
        "generation": generation.name if generation is not None else None,
        "documents": len(generation.manifest.files) if generation is not None else 0,
        "passages": generation.manifest.chunks if generation is not None else 0,
        "modes": list(get_args(AnswerMode)),
        "mode": engine.config.answer.mode,
        "retrieve_modes": list(get_args(RetrieveMode)),
        "retrieve": engine.config.retrieve.mode,
        "top_k": engine.config.retrieve.top_k,
        "max_top_k": service.config.bounds.max_top_k,
        "max_question_chars": service.config.bounds.max_question_chars,
    }
