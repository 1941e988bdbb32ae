"""The supervisor's probe on a server that does not chat: one small piece of its own work instead of a token.

The supervisor asks every server for one token by /v1/completions, which an embedding or a Whisper server does
not have. This middleware, inside the guard, turns that question into one embedding, score, label or second of
speech, and answers as if a token had come, if what came is right. It heeds the supervisor's key only.
"""

from __future__ import annotations

import io
import math
import wave
from typing import Any

from pydantic_core import from_json, to_json

from quantserve.serving.guard.exchange import ASGIApp, Receive, Scope, Send
from quantserve.serving.guard.inner import ask
from quantserve.serving.guard.settings import GuardSettings, from_environment

INTERNAL = "quantserve.internal"
"""Set in the scope by the guard, when the request came with the supervisor's own key."""
MIDDLEWARE = "quantserve.serving.guard.task_probe.TaskProbe"
_PATH = "/v1/completions"
_BOUNDARY = b"quantserve-probe"
_RATE_HZ = 16_000


def silence(seconds: float) -> bytes:
    """Return a WAV file of silence: one channel of 16 bits at 16 kHz."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(_RATE_HZ)
        audio.writeframes(bytes(int(2 * _RATE_HZ * seconds)))
    return stream.getvalue()


def _form(fields: dict[str, str], audio: bytes) -> bytes:
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
        % (_BOUNDARY, name.encode(), value.encode())
        for name, value in fields.items()
    ]
    head = b'--%b\r\nContent-Disposition: form-data; name="file"; filename="probe.wav"\r\n' % _BOUNDARY
    parts.append(head + b"Content-Type: audio/wav\r\n\r\n" + audio + b"\r\n--%b--\r\n" % _BOUNDARY)
    return b"".join(parts)


def question(task: str, model: str) -> tuple[str, bytes, bytes]:
    """Return path, content type and body of the smallest piece of work of a task."""
    json = b"application/json"
    if task == "embed":
        return "/v1/embeddings", json, to_json({"model": model, "input": "The"})
    if task == "score":
        return "/score", json, to_json({"model": model, "text_1": "The", "text_2": "The"})
    if task == "classify":
        return "/classify", json, to_json({"model": model, "input": "The"})
    fields = {"model": model, "language": "en", "max_completion_tokens": "1"}
    return (
        "/v1/audio/transcriptions",
        b"multipart/form-data; boundary=" + _BOUNDARY,
        _form(fields, silence(0.5)),
    )


def answered(task: str, body: Any) -> bool:
    """Whether an answer holds what was asked for: finite numbers, or text."""
    if task == "transcribe":
        return isinstance(body.get("text"), str)
    first = body["data"][0]
    numbers = {"embed": first.get("embedding"), "score": [first.get("score")], "classify": first.get("probs")}
    found = numbers[task]
    return bool(found) and all(isinstance(n, int | float) and math.isfinite(n) for n in found)


class TaskProbe:
    """An ASGI app around vLLM's."""

    def __init__(self, app: ASGIApp, settings: GuardSettings | None = None) -> None:
        """Without `settings` they are read from the environment, as the planner left them."""
        self._app = app
        self._task = (settings if settings is not None else from_environment()).task

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the supervisor's probe; hand everything else on."""
        if scope["type"] == "http" and scope["path"] == _PATH and scope.get(INTERNAL):
            await self._probe(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _probe(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = await _read(receive)
        model = str(from_json(asked).get("model", ""))
        path, kind, body = question(self._task, model)
        status, answer = await ask(self._app, scope, path, body, kind)
        if status == 200 and answered(self._task, from_json(answer)):
            counted = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            answer = to_json({"object": "probe", "model": model, "choices": [], "usage": counted})
        elif status == 200:
            status, answer = 500, to_json({"error": {"message": f"{path} answered nothing of use"}})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


async def _read(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body
