"""Stands in for vLLM where the launcher is under test: the real guard and socket before a model of words.

python fake_engine.py [die | core]        "die" ends at once with an error like vLLM's, "core" has a core

A completion streams as many words as max_tokens says, fifty a second. The prompt steers the rest: "hang" and
"busy" let no completion end from then on, "busy" counts tokens of others meanwhile; "core dies" is an engine
core that died under its server; "leave" ends the process; "hold" streams on while the file HOLD exists. An
engine does not start while it exists. "noise" writes clients' errors into the log, as vLLM does; "signal N"
has the process killed by it and "core N" its engine core, "leave N" ends it with a code, "raise" by an
exception. The header X-data-parallel-rank chooses one of its copies, as in vLLM;
one that is stuck leaves the others alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from multiprocessing import get_context
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import uvicorn
from prometheus_client import REGISTRY, Counter, generate_latest

from quantserve.serving.guard.launcher_line import LISTENER_VARIABLE, inherited
from quantserve.serving.guard.middleware import Guard
from quantserve.serving.guard.settings import VARIABLE, GuardSettings
from quantserve.serving.supervise.children import reporter, reporting_uncaught, watch_children
from tests.integration.serving.guard.books import Books

CHILD = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(120)"
TOKENS = Counter("vllm:generation_tokens", "tokens of all requests", ["engine"])
WORD_S = 0.02
NOISE = """(APIServer pid=1) ERROR 11-29 10:08:36 [serving.py:9] Traceback (most recent call last):
(APIServer pid=1) ERROR 11-29 10:08:36 [serving.py:9] json.decoder.JSONDecodeError: Expecting value: line 1
ERROR:    Exception in ASGI application
Traceback (most recent call last):
ValueError: the client's fault"""
NOISE = """(APIServer pid=1) ERROR 11-29 10:08:36 [serving.py:9] Traceback (most recent call last):
(APIServer pid=1) ERROR 11-29 10:08:36 [serving.py:9] json.decoder.JSONDecodeError: Expecting value: line 1
ERROR:    Exception in ASGI application
Traceback (most recent call last):
ValueError: the client's fault"""
HOLD = Path(os.environ["HOLD"])


class Engine:
    """Holds what vLLM keeps in `app.state`: a server, and a client `errored` once the core is dead."""

    server: uvicorn.Server
    core: SpawnProcess

    def __init__(self) -> None:
        self.state = self
        self.engine_client = self
        self.errored = False
        self.output_processor = Books()
        self.stuck: set[str] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["path"] == "/metrics":
            await answer(send, 200, generate_latest(REGISTRY))
        elif scope["method"] == "GET":
            await answer(send, 200, b"")
        else:
            copy = dict(scope["headers"]).get(b"x-data-parallel-rank", b"0").decode()
            await self.complete(json.loads((await receive())["body"]), copy, send)

    async def complete(self, body: dict[str, Any], copy: str, send: Any) -> None:
        prompt = body["prompt"]
        if prompt in ("hang", "busy"):
            self.stuck.add(copy)
        if prompt == "core dies":
            self.errored = True
            await answer(send, 500, b"EngineDeadError")
            return
        word, _, number = prompt.partition(" ")
        if word == "leave":
            os._exit(int(number or 3))
        if word == "signal":
            os.kill(os.getpid(), int(number))
        if word == "core" and number.isdigit():
            os.kill(self.core.pid or 0, int(number))
            while self.core.is_alive():
                await asyncio.sleep(WORD_S)
            self.errored = True
        if prompt == "raise":
            self.uncaught = self.server.should_exit = True
        if prompt == "noise":
            print(NOISE, flush=True)
        while copy in self.stuck:
            await asyncio.sleep(WORD_S)
            TOKENS.labels(copy).inc(prompt == "busy")
        count = body["max_tokens"]
        TOKENS.labels(copy).inc(count)
        if not body.get("stream"):
            await answer(send, 200, json.dumps({"usage": {"completion_tokens": count}}).encode())
            return
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(count):
            await asyncio.sleep(WORD_S)
            await send({"type": "http.response.body", "body": b"data: word\n\n", "more_body": True})
        while prompt == "hold" and HOLD.exists():
            await asyncio.sleep(WORD_S)
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


async def answer(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    if "die" in sys.argv:
        print("(EngineCore pid=1) ERROR 11-22 09:00:00 [core.py:1] ValueError: no room for the cache")
        print("RuntimeError: Engine core initialization failed. See root cause above.")
        sys.exit(1)
    subprocess.Popen([sys.executable, "-c", CHILD])
    while HOLD.exists():
        time.sleep(WORD_S)
    listener = inherited(LISTENER_VARIABLE)
    assert listener is not None
    engine = Engine()
    guard = Guard(engine, GuardSettings.model_validate_json(os.environ[VARIABLE]))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["app"] = engine
        await guard(scope, receive, send)

    tls: Any = json.loads(os.environ.get("TLS", "{}"))
    engine.server = uvicorn.Server(uvicorn.Config(app, log_level="warning", **tls))
    report = reporter()
    watch_children(report)
    if "core" in sys.argv:
        engine.core = get_context("spawn").Process(target=time.sleep, args=(120,), name="EngineCore_DP0")
        engine.core.daemon = True
        engine.core.start()
    with reporting_uncaught(report):
        engine.server.run([listener])
        if engine.uncaught:
            raise ValueError("no such block")


if __name__ == "__main__":
    main()
