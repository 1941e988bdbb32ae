"""Which requests should meet in one replica's prefix cache. Pure.

beginning_of(body)   the text a prompt starts with, for a router that compares beginnings (cache_aware)
session_of(body)     a name for the conversation, for a router that follows sessions
tokens_of(text)      what the router gets for tokens: equal beginnings have equal first numbers
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

import orjson

_HEAD_BYTES = 16_384
_BLOCK_BYTES = 64
_HEAD_MESSAGES = 8


def parse(body: bytes) -> Any:
    """Return the JSON value, None for what is none: the guard behind us will say so."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def beginning_of(body: Any) -> str:
    """Return the first 16 KiB of what the model reads, as text; empty when the body has no prompt."""
    if not isinstance(body, dict):
        return ""
    messages, prompt = body.get("messages"), body.get("prompt")
    if isinstance(messages, list):
        return _text([body.get("tools"), *messages])
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    return prompt[:_HEAD_BYTES] if isinstance(prompt, str) else _text(prompt) if prompt else ""


def session_of(body: Any) -> str | None:
    """Return 32 hex digits that the turns of one conversation share; None when the body has no prompt.

    A chat is named by its messages up to the first of the user, a prompt by its first kilobytes.
    """
    messages = body.get("messages") if isinstance(body, dict) else None
    if isinstance(messages, list):
        end = next((k for k, m in enumerate(messages) if isinstance(m, dict) and m.get("role") == "user"), 0)
        head = _text(messages[: min(end + 1, _HEAD_MESSAGES)])
    else:
        head = beginning_of(body)
    if not head:
        return None
    return hashlib.blake2b(head.encode(errors="replace"), digest_size=16).hexdigest()


def tokens_of(text: str) -> list[int]:
    """Return one number for each whole 64 bytes, and one for the rest."""
    raw = text.encode(errors="replace")
    return [zlib.crc32(raw[start : start + _BLOCK_BYTES]) for start in range(0, len(raw), _BLOCK_BYTES)]


def _text(value: Any) -> str:
    try:
        return orjson.dumps(value)[:_HEAD_BYTES].decode(errors="replace")
    except orjson.JSONEncodeError:  # nested deeper than it writes, though it reads it: no prompt looks so
        return ""
