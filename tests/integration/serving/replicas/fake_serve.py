"""`serving serve` with the real guard and no engine: words in no time, each naming the version served.

python -m tests.integration.serving.replicas.fake_serve serve TARGET --port P --run-dir D …

A target folder that holds a file named `broken` does not start. A prompt may say how it is answered:
`words=N` words, a pause of `pause=S` seconds between them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
import yaml
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from quantserve.core.http.keys import digest
from quantserve.serving.guard.middleware import Guard
from quantserve.serving.guard.settings import GuardSettings
from quantserve.serving.processes import die_with_parent, start_ticks
from quantserve.serving.state import ServerState, remove_state, write_state

USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


def knob(name: str, text: str) -> str | None:
    found = re.search(rf"{name}=([\d.]+)", text)
    return found.group(1) if found else None


class Engine:
    def __init__(self, version: str) -> None:
        self.version = version
        self.app = FastAPI()
        for path in ("/v1/completions", "/v1/chat/completions"):
            self.app.add_api_route(path, self.complete, methods=["POST"])
        self.app.add_api_route("/v1/audio/transcriptions", self.audio, methods=["POST"])
        self.app.add_api_route("/v1/models", self.models)
        self.app.add_api_route("/health", self.health)
        self.app.add_api_route("/metrics", self.metrics)

    async def health(self) -> Response:
        return Response()

    async def metrics(self) -> Response:
        return Response("# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 1.0\n")

    async def models(self) -> dict[str, Any]:
        return {"object": "list", "data": [{"id": "tiny", "object": "model"}]}

    async def audio(self, request: Request) -> dict[str, Any]:
        return {"text": f"{len(await request.body())} bytes"}

    async def complete(self, request: Request) -> Response:
        raw = await request.body()
        body = json.loads(raw)
        asked = json.dumps(body.get("messages", body.get("prompt")))
        words = int(knob("words", asked) or 1)
        pause = float(knob("pause", asked) or 0)
        if body.get("stream"):
            return StreamingResponse(self.stream(words, pause), media_type="text/event-stream")
        await asyncio.sleep(words * pause)
        choices = [{"index": 0, "text": self.version, "finish_reason": "stop"}]
        echo = {"pid": os.getpid(), "body": raw.decode(), "client": request.scope["client"][0]}
        return JSONResponse({"id": "c", "choices": choices, "usage": USAGE, **echo})

    async def stream(self, words: int, pause: float) -> AsyncIterator[bytes]:
        for number in range(words):
            last = "stop" if number == words - 1 else None
            event = {"id": "c", "choices": [{"index": 0, "text": self.version, "finish_reason": last}]}
            yield f"data: {json.dumps(event)}\n\n".encode()
            await asyncio.sleep(pause)
        last_event = json.dumps({"id": "c", "choices": [], "usage": USAGE}, separators=(",", ":"))
        yield f"data: {last_event}\n\n".encode()
        yield b"data: [DONE]\n\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    parser.add_argument("target", type=Path)
    for name in (
        "--host",
        "--profile",
        "--keys",
        "--guard",
        "--ready-timeout-s",
        "--log",
        "--served-model-name",
    ):
        parser.add_argument(name)
    parser.add_argument("--port", type=int)
    parser.add_argument("--run-dir", type=Path)
    parser.add_argument("--state-file", type=Path)
    parser.add_argument("--die-with-parent", action="store_true")
    words = sys.argv[1:]
    options = parser.parse_args(words[: words.index("--")] if "--" in words else words)
    if (options.target / "broken").exists():
        sys.exit("serving: the engine died while starting: ValueError: this version is broken")
    if options.die_with_parent:
        die_with_parent(signal.SIGTERM)
    engine = Engine(options.target.name)
    key = (options.run_dir / "internal.key").read_text(encoding="ascii")
    settings = {
        "keys_file": options.keys,
        "internal_key_sha256": digest(key),
        "artifact": {"name": "tiny", "version": engine.version},
        "audit": {"file": str(options.run_dir / "audit.jsonl")},
        **yaml.safe_load(Path(options.guard).read_text(encoding="utf-8")),
    }
    guarded = Guard(engine.app, GuardSettings.model_validate(settings))
    config = uvicorn.Config(
        guarded, host=options.host, port=options.port, log_level="warning", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    url = f"http://{options.host}:{options.port}"
    state = ServerState(
        status="ready",
        url=url,
        base_url=f"{url}/v1",
        host=options.host,
        port=options.port,
        pid=os.getpid(),
        pid_start=start_ticks(os.getpid()) or 0,
        engine_pid=os.getpid(),
        model="tiny",
        target=str(options.target),
        version=engine.version,
        profile="cpu",
        dtype="float32",
        log=None,
        argv=words,
        env={},
        request={},
        started_at=time.time(),
        kv_cache_tokens=1000,
    )

    async def serve() -> None:
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        write_state(options.state_file, state)
        await task

    asyncio.run(serve())
    remove_state(options.state_file, os.getpid())


if __name__ == "__main__":
    main()
