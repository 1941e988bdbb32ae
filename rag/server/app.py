"""The application: routes behind the gate, and every error in OpenAI's shape."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.staticfiles import StaticFiles

from quantserve.core.errors import QuantserveError
from quantserve.rag.server.chat_routes import chat_routes
from quantserve.rag.server.document_routes import document_routes
from quantserve.rag.server.exchange import exchange_of
from quantserve.rag.server.gate import Gate
from quantserve.rag.server.health_routes import STATIC, health_routes
from quantserve.rag.server.refusal import Refusal, refusal_for
from quantserve.rag.server.search_routes import search_routes
from quantserve.rag.server.service import Service

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
        done=service.ended,
    )
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(QuantserveError, _failed)
    app.add_exception_handler(Exception, _unexpected)
    return app


def _answer(request: Request, refusal: Refusal) -> JSONResponse:
    exchange_of(request).reason = refusal.code
    return JSONResponse(refusal.body(), status_code=refusal.status, headers=refusal.headers())


async def _refused(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, Refusal):
        raise error
    return _answer(request, error)


async def _failed(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, QuantserveError):
        raise error
    return _answer(request, refusal_for(error))


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    found = error.errors()[0]
    if found["type"] == "json_invalid":
        return _answer(request, Refusal(400, "invalid_json", "the body is not JSON"))
    where = ".".join(str(part) for part in found["loc"] if part != "body")
    message = f"{where}: {found['msg']}" if where else found["msg"]
    return _answer(request, Refusal(400, "invalid_value", message, param=where or None))


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 400:  # all that FastAPI refuses so is a body it cannot parse
        return _answer(request, Refusal(400, "invalid_json", "the body is not JSON"))
    message = f"{request.method} {request.url.path[:200]}: {error.detail}"
    return _answer(request, Refusal(error.status_code, _CODES.get(error.status_code, "refused"), message))


async def _unexpected(request: Request, _: Exception) -> JSONResponse:
    """Answer a fault of ours; uvicorn writes the traceback to its log."""
    return _answer(request, Refusal(500, "internal_error", "something went wrong here; see the server's log"))
