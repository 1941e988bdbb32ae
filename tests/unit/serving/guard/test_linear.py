"""Every step of the guard takes time in proportion to the body at most: counted in lines, not by the clock.

A body of each kind is sent through the whole guard, with a key, limits and an audit log, at twice the size
again and again. What is counted are the lines of our code and of the multipart parser that run. A call of a C
function counts as one: those that see a client's text are linear by their authors' word (parsing JSON,
searching bytes, hashing), and regular expressions are judged in tests/unit/test_patterns.py.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from quantserve.core.http.exchange import Message, Receive, Scope, Send
from quantserve.core.http.key_commands import new_key
from quantserve.core.http.keys import write_keys
from quantserve.serving.guard.middleware import Guard
from quantserve.serving.guard.paths import KEY_RULES
from quantserve.serving.guard.request.limits import MIB
from quantserve.serving.guard.settings import GuardSettings

KIB = 1024
SIZES = [64 * KIB << k for k in range(7)]
COUNTED = ("serving/guard", "python_multipart")
BOUNDARY = b"xx"
FORM = b"multipart/form-data; boundary=" + BOUNDARY
PART = b'--xx\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
JSON = b"application/json"


def filled(size: int, unit: str, around: tuple[str, str]) -> bytes:
    return (around[0] + ",".join([unit] * (size // (len(unit) + 1))) + around[1]).encode()


def completion(unit: str) -> Callable[[int], bytes]:
    return lambda size: filled(size, unit, ('{"model":"m","max_tokens":1,"prompt":[', "]}"))


def chat(unit: str, key: str = "messages") -> Callable[[int], bytes]:
    head = '{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}],"' + key + '":['
    return lambda size: filled(
        size,
        unit,
        (
            head.replace('"messages":[{"role":"user","content":"x"}],', "") if key == "messages" else head,
            "]}",
        ),
    )


def text(size: int) -> bytes:
    return json.dumps({"model": "m", "prompt": "한a" * (size // 4)}, ensure_ascii=False).encode()


KINDS: dict[str, tuple[str, bytes, Callable[[int], bytes]]] = {
    "names of a form": ("/v1/audio/transcriptions", FORM, lambda size: b'name="model"\r\n' * (size // 14)),
    "heads of a part": (
        "/v1/audio/transcriptions",
        FORM,
        lambda size: b"--xx\r\n" + b"a: b\r\n" * (size // 6),
    ),
    "head without end": ("/v1/audio/transcriptions", FORM, lambda size: b"--xx\r\n" + b"a" * size),
    "parts of a form": ("/v1/audio/transcriptions", FORM, lambda size: (PART + b"\r\n") * (size // 55)),
    "almost boundaries": ("/v1/audio/transcriptions", FORM, lambda size: PART + b"\r\n--x" * (size // 5)),
    "line ends": ("/v1/audio/transcriptions", FORM, lambda size: PART + b"\r" * size),
    "a plain file": ("/v1/audio/transcriptions", FORM, lambda size: PART + b"x" * size + b"\r\n--xx--\r\n"),
    "a long text": ("/v1/completions", JSON, text),
    "token ids": ("/v1/completions", JSON, completion("7")),
    "lists of token ids": ("/v1/completions", JSON, completion("[7]")),
    "empty lists": ("/v1/completions", JSON, completion("[]")),
    "texts": ("/v1/completions", JSON, completion('"a"')),
    "real numbers": ("/v1/completions", JSON, completion("1.5")),
    "messages": ("/v1/chat/completions", JSON, chat('{"role":"user","content":"a"}')),
    "tools": ("/v1/chat/completions", JSON, chat('{"type":"function"}', "tools")),
    "stop words": ("/v1/chat/completions", JSON, chat('"a"', "stop")),
    "items": ("/v1/responses", JSON, lambda size: filled(size, '{"role":"user"}', ('{"input":[', "]}"))),
    "system blocks": ("/v1/messages", JSON, chat('{"type":"text","text":"a"}', "system")),
    "brackets": ("/v1/completions", JSON, lambda size: b"[" * size),
    "equal names": ("/v1/completions", JSON, lambda size: filled(size, '"a":1', ("{", "}"))),
    "blanks": ("/v1/completions", JSON, lambda size: b'{"prompt":"x"}' + b" " * size),
    "no JSON": ("/v1/completions", JSON, lambda size: b"x" * size),
}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


@pytest.fixture(scope="module")
def guards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("guard")
    key, secret = new_key(KEY_RULES, "k", tokens_per_day=10**15)
    write_keys(folder / "keys", (key,))
    wide = {"max_prompt_chars": 10**9, "max_prompt_tokens": 10**9, "max_inputs": 10**9, "max_messages": 10**9}
    limits = {**wide, "max_tools": 10**9, "max_body_bytes": 32 * MIB, "max_upload_bytes": 32 * MIB}
    common = {"keys_file": str(folder / "keys"), "artifact": {"name": "m"}, "limits": limits}
    return {
        "secret": secret,
        **{
            task: Guard(app, GuardSettings.model_validate({**common, "task": task}))
            for task in ("generate", "transcribe")
        },
    }


def lines_run(guard: Guard, secret: str, path: str, kind: bytes, body: bytes) -> int:
    """Return how many lines of the counted files one request takes."""
    counted = 0

    def line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal counted
        counted += event == "line"
        return line

    def call(frame: FrameType, event: str, _: Any) -> Any:
        return line if any(part in frame.f_code.co_filename for part in COUNTED) else None

    headers = [
        (b"host", b"127.0.0.1"),
        (b"authorization", f"Bearer {secret}".encode()),
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
    ]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "client": ("127.0.0.1", 1)}

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    async def send(_: Message) -> None:
        """Nobody reads it."""

    async def ask() -> None:
        before = sys.gettrace()
        sys.settrace(call)
        try:
            await guard(scope, receive, send)
        finally:
            sys.settrace(before)

    asyncio.run(ask())
    return counted


@pytest.mark.parametrize("name", KINDS)
def test_twice_the_body_takes_at_most_two_and_a_half_times_the_steps(
    name: str, guards: dict[str, Any]
) -> None:
    path, kind, make = KINDS[name]
    guard = guards["transcribe" if "audio" in path else "generate"]
    steps = [lines_run(guard, guards["secret"], path, kind, make(size)) for size in SIZES]
    assert steps[0] > 30
    for smaller, larger in pairwise(steps):
        assert larger <= 2.5 * smaller, steps
