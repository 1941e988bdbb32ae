"""A model server without a model, behind the real guard, on a real socket in a thread of the test."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.responses import Response

from quantserve.serving.guard.middleware import Guard
from quantserve.serving.guard.settings import GuardSettings
from tests.integration.serving.guard.books import EngineClient

METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "TRACE", "PATCH"]
USAGE = {"prompt_tokens": 7, "total_tokens": 10, "completion_tokens": 3}


class FakeEngine:
    """Answers like vLLM: usage in whole answers, and in streams when it is asked for."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.request_ids: list[str | None] = []
        self.cancelled = 0
        self.refusal: tuple[int, Any] | None = None
        """Status and body of what it says to everything that it is asked to generate."""
        self.stream_ends: bytes | Exception | None = None
        """What comes in a stream in place of its last events: an error of the engine's, or one is raised."""
        self.gate = threading.Event()
        """Requests whose prompt is "wait" end when this is set."""
        self.app = FastAPI()
        self.app.state.engine_client = self.client = EngineClient()
        self.app.add_api_route("/health", self.health)
        # It answers every method, as Prometheus' own app does.
        self.app.add_api_route("/metrics", self.figures, methods=METHODS)
        self.app.add_api_route("/docs2", self.health)
        self.app.add_api_route("/v1/models", self.models)
        self.app.add_api_route("/v1/audio/transcriptions", self.audio, methods=["POST"])
        for path in ("/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages", "/tokenize"):
            self.app.add_api_route(path, self.complete, methods=["POST"])

    async def health(self) -> Response:
        return Response("fine")

    async def figures(self) -> Response:
        return PlainTextResponse("figures")

    async def models(self) -> dict[str, Any]:
        return {"object": "list", "data": [{"id": "m"}]}

    async def audio(self, request: Request) -> dict[str, Any]:
        return {"text": str(len(await request.body()))}

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        self.seen.append(body)
        self.request_ids.append(request.headers.get("x-request-id"))
        if self.refusal is not None:
            return JSONResponse(self.refusal[1], self.refusal[0])
        tokens = self.client.output_processor.begin(7, body.get("n") or 1, body.get("cache_salt"))
        for answer in tokens:
            answer += [1, 2, 3]
        if body.get("stream"):
            return StreamingResponse(self._events(body), media_type="text/event-stream")
        waiting = asyncio.ensure_future(self._until_open(body))
        leaving = asyncio.ensure_future(self._until_left(request))
        done, _ = await asyncio.wait((waiting, leaving), return_when=asyncio.FIRST_COMPLETED)
        for task in (waiting, leaving):
            task.cancel()
        if waiting not in done:
            self.cancelled += 1
        return JSONResponse({"choices": [{"text": "hi"}], "usage": USAGE})

    async def _until_open(self, body: dict[str, Any]) -> None:
        while body.get("prompt") == "wait" and not self.gate.is_set():
            await asyncio.sleep(0.01)

    async def _until_left(self, request: Request) -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    async def _events(self, body: dict[str, Any]) -> AsyncIterator[bytes]:
        try:
            for word in ("a", "b", "c"):
                event = json.dumps({"choices": [{"text": word}]}, separators=(",", ":"))
                yield f"data: {event}\n\n".encode()
            if isinstance(self.stream_ends, Exception):
                raise self.stream_ends
            if self.stream_ends is not None:
                yield self.stream_ends
                return
            await self._until_open(body)
            if (body.get("stream_options") or {}).get("include_usage"):
                last = json.dumps({"choices": [], "usage": USAGE}, separators=(",", ":"))
                yield f"data: {last}\n\n".encode()
            yield b"data: [DONE]\n\n"
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


class GuardedServer:
    """The fake engine behind a guard with the given settings."""

    def __init__(self, **settings: Any) -> None:
        self.engine = FakeEngine()
        self.guard: Guard | None = None
        self.seen: list[Any] = []

        def guarded(app: Any) -> Guard:
            self.guard = Guard(app, GuardSettings.model_validate({"artifact": {"name": "m"}, **settings}))
            return self.guard

        self.engine.app.add_middleware(guarded)
        self._serve(self.engine.app)

    @classmethod
    def around(cls, app: FastAPI, seen: list[Any]) -> GuardedServer:
        """Serve another app, which brings its guard; `seen` is what it records."""
        self = cls.__new__(cls)
        self.engine, self.guard, self.seen = FakeEngine(), None, seen
        self._serve(app)
        return self

    def _serve(self, app: FastAPI) -> None:
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", forwarded_allow_ips="")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        wait_until(lambda: self._server.started)
        self.port: int = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=20, trust_env=False)

    def post(self, path: str = "/v1/completions", key: str | None = None, **body: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return self.client.post(path, json={"model": "m", **body}, headers=headers)

    def close(self) -> None:
        self.engine.gate.set()
        self.client.close()
        self._server.should_exit = True
        self._thread.join(20)


def wait_until(condition: Any, timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
