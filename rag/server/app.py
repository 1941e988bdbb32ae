"""The application: routes behind the gate, health and what the page shows, every error in OpenAI's shape."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from quantserve.core.errors import QuantserveError
from quantserve.core.http.refusal import Refusal
from quantserve.rag.config import AnswerMode, RetrieveMode
from quantserve.rag.server.chat import chat_routes
from quantserve.rag.server.documents import document_routes, search_routes
from quantserve.rag.server.gate import Gate, exchange_of
from quantserve.rag.server.reply import refusal_for
from quantserve.rag.server.service import Service

STATIC = Path(__file__).parent / "static"
_CODES = {404: "not_found", 405: "method_not_allowed"}


def create_app(service: Service) -> FastAPI:
    """Put it together; the service starts and stops with it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await service.stop()

    # The interactive documentation loads scripts from elsewhere, so there is none; /openapi.json stays.
    app = FastAPI(title="quantserve rag", docs_url=None, redoc_url=None, lifespan=lifespan)
    for routes in (health_routes, chat_routes, document_routes, search_routes):
        app.include_router(routes(service))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(
        Gate,
        bounds=service.config.bounds,
        keys=service.keys,
        tickets=service.tickets,
        room=service.room,
        uploads=service.uploads,
        done=service.note_ended,
    )
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(QuantserveError, _failed)
    app.add_exception_handler(Exception, _unexpected)
    return app


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


def _answer(request: Request, refusal: Refusal) -> Response:
    exchange_of(request).code = refusal.code
    headers = {name.decode(): value.decode() for name, value in refusal.headers()}
    return Response(refusal.body(), status_code=refusal.status, headers=headers)


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, Refusal):
        raise error
    return _answer(request, error)


async def _failed(request: Request, error: Exception) -> Response:
    if not isinstance(error, QuantserveError):
        raise error
    return _answer(request, refusal_for(error))


async def _invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    found = error.errors()[0]
    if found["type"] == "json_invalid":
        return _answer(request, Refusal(400, "invalid_json", "the body is not JSON"))
    where = ".".join(str(part) for part in found["loc"] if part != "body")
    message = f"{where}: {found['msg']}" if where else found["msg"]
    return _answer(request, Refusal(400, "invalid_value", message, param=where or None))


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 400:  # all that FastAPI refuses so is a body it cannot parse
        return _answer(request, Refusal(400, "invalid_json", "the body is not JSON"))
    message = f"{request.method} {request.url.path[:200]}: {error.detail}"
    return _answer(request, Refusal(error.status_code, _CODES.get(error.status_code, "refused"), message))


async def _unexpected(request: Request, _: Exception) -> Response:
    """Answer a fault of ours; uvicorn writes the traceback to its log."""
    return _answer(request, Refusal(500, "internal_error", "something went wrong here; see the server's log"))
