"""The launcher, as seen from the engine's process: whether requests may come in, and its probe.

Between "listening" and the launcher's own first token only its probe is let in; once it says "stopping"
nothing new is, and it hears when the last request has ended.

The supervisor's probe on a server that does not chat: one small piece of its own work instead of a token.

The supervisor asks every server for one token by /v1/completions, which an embedding or a Whisper server does
not have. This middleware, inside the guard, turns that question into one embedding, score, label or second of
speech, and answers as if a token had come, if what came is right. It heeds the supervisor's key only.
"""

from __future__ import annotations

import asyncio
import io
import math
import wave
from typing import Any

from prometheus_client import REGISTRY
from pydantic_core import from_json, to_json

from quantserve.core.http.exchange import ASGIApp, Message, Receive, Scope, Send
from quantserve.core.http.refusal import Refusal
from quantserve.serving.guard.launcher_line import (
    DRAINED,
    ENDED,
    LINE_VARIABLE,
    LISTENING,
    Facts,
    Line,
    inherited,
    unavailable,
)
from quantserve.serving.guard.metrics import FactsCollector
from quantserve.serving.guard.settings import Artifact, GuardSettings, from_environment

_CORE_WATCH_S = 0.2
_ARRIVING_S = 0.2
INTERNAL = "quantserve.internal"
"""Set in the scope by the guard, when the request came with the supervisor's own key."""
_PATH = "/v1/completions"
_BOUNDARY = b"quantserve-probe"
_RATE_HZ = 16_000


class LauncherClient:
    """Holds the latest facts and counts the requests that are under way."""

    def __init__(self, artifact: Artifact) -> None:
        """Without a launcher (no line in the environment) requests always may come in."""
        end = inherited(LINE_VARIABLE)
        self._line = Line(end) if end is not None else None
        self.facts = Facts(phase="serving" if self._line is None else "starting")
        self._under_way = 0
        self._app: Any = None
        self._settled = False
        """Whether connections taken before we stopped to listen have had time to send their request."""
        if self._line is not None:
            REGISTRY.register(FactsCollector(lambda: self.facts, artifact))

    def at_startup(self, scope: Scope, send: Send) -> Send:
        """Return a `send` for the server's lifespan that reports once its HTTP side is about to listen."""

        async def sending(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete" and self._line is not None:
                self._app = scope.get("app")
                asyncio.get_running_loop().add_reader(self._line.fileno(), self._read)
                self._line.say(LISTENING)
                self._watch_core(scope)
            await send(message)

        return sending

    def at_shutdown(self) -> None:
        """Report that the HTTP side takes nothing any more; the process may need seconds to end."""
        if self._line is not None:
            self._line.say(ENDED)

    def _watch_core(self, scope: Scope) -> None:
        """Report a dead core at once; vLLM's own watch needs up to five seconds."""
        if self.engine_dead(scope) is not None:
            self._stop_listening()
            self.at_shutdown()
        else:
            asyncio.get_running_loop().call_later(_CORE_WATCH_S, self._watch_core, scope)

    def open(self, scope: Scope) -> bool:
        """Whether requests may come in now."""
        return self.facts.phase == "serving" and self.engine_dead(scope) is None

    def closed_to(self, scope: Scope, *, internal: bool) -> Refusal | None:
        """Return why a request cannot be taken now; `internal` is the launcher's own probe."""
        phase = self.facts.phase
        if phase != "serving" and not (internal and phase == "starting"):
            return unavailable(self.facts)
        return self.engine_dead(scope)

    def engine_dead(self, scope: Scope) -> Refusal | None:
        """Return the refusal of a request whose engine core has died under a server that still answers."""
        app = scope.get("app")
        engine = getattr(app.state, "engine_client", None) if app is not None else None
        if engine is not None and engine.errored:
            return unavailable(self.facts.changed(phase="restarting"))
        return None

    def enter(self) -> None:
        """Note that a request begins."""
        self._under_way += 1

    def leave(self) -> None:
        """Note that it has ended."""
        self._under_way -= 1
        self._report_if_drained()

    def _read(self) -> None:
        if self._line is None:
            return
        before = self.facts.phase
        for line in self._line.lines():
            self.facts = Facts.from_line(line)
        if self._line.ended:  # the launcher was killed, and whoever ends us is on the way
            asyncio.get_running_loop().remove_reader(self._line.fileno())
        if self.facts.phase == "stopping" != before:
            self._stop_listening()
            asyncio.get_running_loop().call_later(_ARRIVING_S, self._settle)

    def _stop_listening(self) -> None:
        """Leave new connections to the unavailable server: ours would be reset when this server ends."""
        server = getattr(self._app.state, "server", None) if self._app is not None else None
        for listening in getattr(server, "servers", ()):
            listening.close()

    def _settle(self) -> None:
        self._settled = True
        self._report_if_drained()

    def _report_if_drained(self) -> None:
        if self._line is not None and self._settled and self._under_way == 0:
            self._line.say(DRAINED)


async def call_app(
    app: ASGIApp, scope: Scope, path: str, body: bytes = b"", kind: bytes = b"application/json"
) -> tuple[int, bytes]:
    """Ask by the client's method and headers, but for those of the body; return status and whole answer."""
    kept = [pair for pair in scope["headers"] if pair[0] not in (b"content-type", b"content-length")]
    if body:
        kept += [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    inner = {**scope, "path": path, "raw_path": path.encode(), "headers": kept}
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    status, answer = 500, b""

    async def receive() -> Message:
        return pending.pop() if pending else await _never()

    async def send(message: Message) -> None:
        nonlocal status, answer
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            answer += message.get("body", b"")

    await app(inner, receive, send)
    return status, answer


async def _never() -> Message:
    """Wait for a disconnect that does not come: whoever waits for it is ended with the answer."""
    await asyncio.Event().wait()
    return {"type": "http.disconnect"}


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


def probe_request(task: str, model: str) -> tuple[str, bytes, bytes]:
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


def holds_work(task: str, body: Any) -> bool:
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
        probe = await _read(receive)
        model = str(from_json(probe).get("model", ""))
        path, kind, body = probe_request(self._task, model)
        status, answer = await call_app(self._app, scope, path, body, kind)
        if status == 200 and holds_work(self._task, from_json(answer)):
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
