"""A fake OpenAI-compatible server over real HTTP, with known timing and faults on demand.

    with FakeServer(Behaviour(ttft_s=0.2, inter_token_s=0.01)) as server:
        OpenAI(base_url=server.base_url, api_key="x").chat.completions.create(...)

or `python -m tests.fakes.openai_server --port 9000 --ttft-s 0.2`. Every request's body and arrival
time are recorded. Behaviour may be replaced while it runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


@dataclass(frozen=True)
class Behaviour:
    """What the server does. `answer` is cut at blanks into tokens; `statuses` answer the first requests."""

    model: str = "fake-model"
    answer: str = "The sky is blue. [1]"
    max_model_len: int | None = 4096
    ttft_s: float = 0.0
    inter_token_s: float = 0.0
    statuses: tuple[int, ...] = ()
    """Statuses of the first chat requests, one each; 200 means answering."""
    retry_after_s: float | None = None
    cut_after_tokens: int | None = None
    """Break the connection after so many tokens."""
    garbage_after_tokens: int | None = None
    """Send a line that is no JSON after so many tokens."""
    hang: bool = False
    """Accept the request and never answer."""
    window_tokens: int | None = None
    """Refuse prompts of more words than this, as vLLM does."""
    usage: dict[str, int] | None = None
    """Replaces the true token counts."""
    root: str | None = None
    """What /v1/models says the model was loaded from."""
    answers: tuple[tuple[str, str], ...] = ()
    """(piece of the prompt, answer): the first whose piece stands in the last message is answered."""
    tokenizes: bool = False
    """Offer /tokenize, which counts words."""


@dataclass
class Recorded:
    """One request as it arrived."""

    path: str
    at: float
    body: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


def tokens_of(text: str) -> list[str]:
    """Cut into tokens: words with the blank before them."""
    words = text.split(" ")
    return words[:1] + [" " + word for word in words[1:]]


class FakeServer:
    """Runs in a thread on a spare port; a context manager."""

    def __init__(self, behaviour: Behaviour | None = None, port: int = 0) -> None:
        self.behaviour = behaviour or Behaviour()
        self.requests: list[Recorded] = []
        self.cancelled = 0
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        app = Starlette(
            routes=[
                Route("/v1/models", self._models),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/completions", self._chat, methods=["POST"]),
                Route("/tokenize", self._tokenize, methods=["POST"]),
                Route("/health", self._health),
            ]
        )
        config = uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def chats(self) -> list[Recorded]:
        """Recorded requests for completions."""
        return [request for request in self.requests if request.path.endswith("completions")]

    def change(self, **changes: Any) -> None:
        """Replace some of the behaviour."""
        self.behaviour = replace(self.behaviour, **changes)

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started:
            if time.monotonic() > deadline:
                raise TimeoutError("the fake server did not start")
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)

    def serve_forever(self) -> None:
        """Run in this thread until interrupted."""
        self._server.run(sockets=[self._socket])

    async def _health(self, request: Request) -> Response:
        return Response()

    async def _models(self, request: Request) -> Response:
        self.requests.append(Recorded(request.url.path, time.perf_counter()))
        model: dict[str, Any] = {
            "id": self.behaviour.model,
            "object": "model",
            "owned_by": "fake",
            "created": 0,
        }
        if self.behaviour.root is not None:
            model["root"] = self.behaviour.root
        if self.behaviour.max_model_len is not None:
            model["max_model_len"] = self.behaviour.max_model_len
        return JSONResponse({"object": "list", "data": [model]})

    async def _tokenize(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(Recorded(request.url.path, time.perf_counter(), body))
        if not self.behaviour.tokenizes:
            return _error(404, "Not Found", {})
        words = str(body["prompt"]).split()
        return JSONResponse({"count": len(words), "tokens": list(range(len(words)))})

    async def _chat(self, request: Request) -> Response:
        at = time.perf_counter()
        body = await request.json()
        behaviour = self.behaviour
        for piece, answer in behaviour.answers:
            if piece in str((body.get("messages") or [{}])[-1].get("content", "")):
                behaviour = replace(behaviour, answer=answer)
                break
        number = len(self.chats)
        self.requests.append(Recorded(request.url.path, at, body, dict(request.headers)))
        if behaviour.hang:
            await asyncio.sleep(3600)
        if number < len(behaviour.statuses) and behaviour.statuses[number] != 200:
            headers = {} if behaviour.retry_after_s is None else {"Retry-After": str(behaviour.retry_after_s)}
            return _error(behaviour.statuses[number], "refused by the fake server", headers)
        prompt_tokens = _prompt_tokens(body)
        if behaviour.window_tokens is not None and prompt_tokens > behaviour.window_tokens:
            return _error(
                400,
                f"This model's maximum context length is {behaviour.window_tokens} tokens. "
                f"However, you requested {prompt_tokens} tokens.",
                {},
            )
        limit = body.get("max_tokens") or body.get("max_completion_tokens")
        tokens = tokens_of(behaviour.answer)[: limit or None]
        finish = "stop" if len(tokens) == len(tokens_of(behaviour.answer)) else "length"
        usage = behaviour.usage or {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": len(tokens),
            "total_tokens": prompt_tokens + len(tokens),
        }
        chat = request.url.path.endswith("/chat/completions")
        if body.get("stream"):
            with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
            events = self._events(behaviour, tokens, finish, usage if with_usage else None, chat)
            return StreamingResponse(events, media_type="text/event-stream")
        await asyncio.sleep(behaviour.ttft_s + behaviour.inter_token_s * max(0, len(tokens) - 1))
        text = "".join(tokens)
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
        choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        return JSONResponse(
            {**_envelope(behaviour.model, chat, stream=False), "choices": [choice], "usage": usage}
        )

    async def _events(
        self,
        behaviour: Behaviour,
        tokens: Sequence[str],
        finish: str,
        usage: dict[str, int] | None,
        chat: bool,
    ) -> AsyncIterator[str]:
        envelope = _envelope(behaviour.model, chat, stream=True)

        def event(piece: str, reason: str | None) -> str:
            choice: dict[str, Any] = {"index": 0, "finish_reason": reason}
            choice |= {"delta": {"content": piece}} if chat else {"text": piece}
            return f"data: {json.dumps({**envelope, 'choices': [choice]})}\n\n"

        try:
            await asyncio.sleep(behaviour.ttft_s)
            for number, token in enumerate(tokens):
                if number:
                    await asyncio.sleep(behaviour.inter_token_s)
                if number == behaviour.garbage_after_tokens:
                    yield "data: {this is no JSON\n\n"
                if number == behaviour.cut_after_tokens:
                    raise ConnectionAbortedError("cut by the fake server")
                yield event(token, None)
            yield event("", finish)
            if usage is not None:
                yield f"data: {json.dumps({**envelope, 'choices': [], 'usage': usage})}\n\n"
            yield "data: [DONE]\n\n"
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def _envelope(model: str, chat: bool, *, stream: bool) -> dict[str, Any]:
    kind = "text_completion" if not chat else "chat.completion.chunk" if stream else "chat.completion"
    return {"id": "fake-1", "object": kind, "created": 0, "model": model}


def _prompt_tokens(body: dict[str, Any]) -> int:
    messages = body.get("messages") or [{"content": str(body.get("prompt", ""))}]
    return sum(len(str(message["content"]).split()) for message in messages)


def _error(status: int, message: str, headers: dict[str, str]) -> Response:
    error = {"message": message, "type": "BadRequestError" if status == 400 else "error", "code": status}
    return JSONResponse({"error": error}, status_code=status, headers=headers)


def main() -> None:
    """Run as a process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--model", default=Behaviour.model)
    parser.add_argument("--answer", default=Behaviour.answer)
    parser.add_argument("--ttft-s", type=float, default=Behaviour.ttft_s)
    parser.add_argument("--inter-token-s", type=float, default=Behaviour.inter_token_s)
    options = parser.parse_args()
    server = FakeServer(
        Behaviour(
            model=options.model,
            answer=options.answer,
            ttft_s=options.ttft_s,
            inter_token_s=options.inter_token_s,
        ),
        options.port,
    )
    print(server.base_url, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
