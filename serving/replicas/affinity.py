"""Which requests should meet in one replica's prefix cache. Pure.

session_of(body) names a conversation by its beginning: the messages up to the first of the user, or the
head of a prompt. Later turns of a chat begin alike, so they come to the replica that holds their cache.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

_HEAD_CHARS = 2048
_HEAD_TOKENS = 512
_HEAD_MESSAGES = 8


def parse(body: bytes) -> Any:
    """Return the JSON value, None for what is none: the guard behind us will say so."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def session_of(body: Any) -> str | None:
    """Return 32 hex digits that equal beginnings share; None when the body has no prompt."""
    if not isinstance(body, dict):
        return None
    beginning = _of_messages(body.get("messages")) or _of_prompt(body.get("prompt"))
    if beginning is None:
        return None
    model = body.get("model")
    named = f"{model if isinstance(model, str) else ''}\n".encode(errors="replace")
    return hashlib.blake2b(named + beginning, digest_size=16).hexdigest()


def _of_messages(messages: Any) -> bytes | None:
    if not isinstance(messages, list) or not messages:
        return None
    heads: list[Any] = []
    for message in messages[:_HEAD_MESSAGES]:
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        heads.append([role, content[:_HEAD_CHARS] if isinstance(content, str) else content])
        if role == "user":
            break
    return orjson.dumps(heads)


def _of_prompt(prompt: Any) -> bytes | None:
    if isinstance(prompt, str):
        return prompt[:_HEAD_CHARS].encode(errors="replace")
    if isinstance(prompt, list) and prompt:
        first = prompt[0]
        return orjson.dumps(first[:_HEAD_CHARS] if isinstance(first, str | list) else prompt[:_HEAD_TOKENS])
    return None


def shard(session: str, running: int, spread: int) -> str:
    """Return the session header's value: beyond `spread` running requests another replica helps out."""
    return f"{session}-{running // spread}"
