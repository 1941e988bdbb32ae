"""A question of the guard's own to the app behind it, on the way of a client's request."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from quantserve.serving.guard.exchange import ASGIApp, Scope


async def ask(
    app: ASGIApp, scope: Scope, path: str, body: bytes = b"", kind: bytes = b"application/json"
) -> tuple[int, bytes]:
    """Ask by the client's method and headers, but for those of the body; return status and whole answer."""
    kept = [pair for pair in scope["headers"] if pair[0] not in (b"content-type", b"content-length")]
    if body:
        kept += [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    inner = {**scope, "path": path, "raw_path": path.encode(), "headers": kept}
    pending: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]
    status, answer = 500, b""

    async def receive() -> MutableMapping[str, Any]:
        return pending.pop() if pending else await _never()

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status, answer
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            answer += message.get("body", b"")

    await app(inner, receive, send)
    return status, answer


async def _never() -> MutableMapping[str, Any]:
    """Wait for a disconnect that does not come: whoever waits for it is ended with the answer."""
    await asyncio.Event().wait()
    return {"type": "http.disconnect"}
