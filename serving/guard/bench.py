"""What the guard costs by itself: the same ASGI calls with and without it, without a socket or an engine.

    python -m quantserve.serving.guard.bench [--rounds 20000]

An app that answers at once is called directly and through the guard in turn, on one event loop. What is
printed is the difference in microseconds of processor time, which other programs do not disturb.
`make bench-guard` measures the same over HTTP before the engine.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median, quantiles
from time import thread_time
from typing import Annotated, Any

import typer
from pydantic_core import to_json
from rich.table import Table

from quantserve.core.console import console, emit_json, run_app
from quantserve.core.http.exchange import Message, Receive, Scope, Send
from quantserve.core.http.key_commands import new_key
from quantserve.core.http.keys import write_keys
from quantserve.serving.guard.middleware import Guard
from quantserve.serving.guard.paths import KEY_RULES
from quantserve.serving.guard.settings import GuardSettings

_WORDS = "the quick brown fox jumps over the lazy dog "
_EVENTS = 100
_CHUNK = (
    b'data: {"id":"chatcmpl-0","object":"chat.completion.chunk","created":0,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":" fox"},"logprobs":null,"finish_reason":null}]}\n\n'
)
Call = Callable[[Scope, Receive, Send], Awaitable[None]]


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as a model server does, without a model: streams 100 events when the path says chat."""
    if scope["method"] == "POST":
        await receive()
    streams = scope["path"].endswith("/chat/completions")
    kind = b"text/event-stream" if streams else b"application/json"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    for _ in range(_EVENTS if streams else 0):
        await send({"type": "http.response.body", "body": _CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b"" if streams else b'{"object":"list","data":[]}'})


def _request(method: str, path: str, body: bytes, secret: str) -> tuple[Scope, Receive]:
    headers = [
        (b"host", b"127.0.0.1:8000"),
        (b"user-agent", b"bench"),
        (b"authorization", f"Bearer {secret}".encode()),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": headers,
        "client": ("127.0.0.1", 1),
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return scope, receive


async def _send(message: Message) -> None:
    """Throw the response away."""


async def _compare(
    guard: Call, request: tuple[str, str, bytes], secret: str, rounds: int
) -> dict[str, float]:
    times: dict[str, list[float]] = {"bare": [], "guarded": []}
    for _ in range(rounds):
        for name, call in (("bare", _app), ("guarded", guard)):
            scope, receive = _request(*request, secret)
            start = thread_time()
            await call(scope, receive, _send)
            times[name].append((thread_time() - start) * 1e6)

    def p99(values: list[float]) -> float:
        return quantiles(values, n=100)[98]

    return {
        "bare_us": round(median(times["bare"]), 1),
        "added_median_us": round(median(times["guarded"]) - median(times["bare"]), 1),
        "added_p99_us": round(p99(times["guarded"]) - p99(times["bare"]), 1),
    }


def requests() -> dict[str, tuple[str, str, bytes]]:
    """Return the requests that are timed."""
    short = {"model": "m", "prompt": _WORDS * 4}
    turns = [{"role": "user", "content": _WORDS * 20}, {"role": "assistant", "content": _WORDS * 20}]
    chat = {"model": "m", "messages": turns * 5, "max_tokens": 100, "temperature": 0.7, "stream": True}
    return {
        "GET /v1/models": ("GET", "/v1/models", b""),
        "POST /tokenize": ("POST", "/tokenize", to_json(short)),
        f"chat of 10 turns, {_EVENTS} events streamed": ("POST", "/v1/chat/completions", to_json(chat)),
        "2,000 token ids": (
            "POST",
            "/v1/completions",
            to_json({"model": "m", "prompt": list(range(2000)), "max_tokens": 5}),
        ),
    }


def main(rounds: Annotated[int, typer.Option(min=100, help="Calls of each kind.")] = 5000) -> None:
    """Time the guard with a key, limits and an audit log, as it is deployed."""
    key, secret = new_key(KEY_RULES, "bench", tokens_per_day=10**12)
    with tempfile.TemporaryDirectory() as folder:
        keys, audit = Path(folder) / "keys.json", Path(folder) / "audit.jsonl"
        write_keys(keys, [key])
        settings = GuardSettings.model_validate({"keys_file": str(keys), "audit": {"file": str(audit)}})
        guard = Guard(_app, settings)
        found = {
            name: asyncio.run(_compare(guard, request, secret, rounds))
            for name, request in requests().items()
        }
        guard.close()
    table = Table("request", "bare µs", "added, median µs", "added, p99 µs", box=None)
    for name, figures in found.items():
        table.add_row(name, *(f"{value:.1f}" for value in figures.values()))
    console.print(table)
    emit_json(found)


if __name__ == "__main__":
    program = typer.Typer(pretty_exceptions_enable=False)
    program.command()(main)
    run_app(program, "guard bench")
