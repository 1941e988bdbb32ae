"""The bytes of a streamed answer, most of them made once."""

from __future__ import annotations

from typing import Any

import orjson

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(value: Any) -> bytes:
    return chunk(b"data: " + orjson.dumps(value) + b"\n\n")


def token_event(chat: bool, text: str, finish: str | None, usage: Any = None) -> bytes:
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
    choice |= {"delta": {"content": text}} if chat else {"text": text}
    return event({"id": "x", "object": "c", "model": "fake", "choices": [choice], "usage": usage})


TOKEN = {chat: token_event(chat, " word", None) for chat in (False, True)}
LAST = {chat: token_event(chat, " word", "length") for chat in (False, True)}
ROLE = event({"id": "x", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
DONE = chunk(b"data: [DONE]\n\n")
MANY = {(chat, n): TOKEN[chat] * (n - 1) + LAST[chat] for chat in (False, True) for n in range(1, 257)}
