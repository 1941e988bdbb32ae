"""How many tokens a response took, read from its `usage` without parsing the rest.

Streams carry usage only when asked. The guard asks for it in the client's place by appending to the body's
bytes (the last of two equal names counts), and takes the extra event out of the stream again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic_core import from_json, to_json

_ADDED = {"include_usage": True, "continuous_usage_stats": False}
_ASK = b'"stream_options":{"include_usage":true}}'
# Inside JSON text the quotes would be escaped, so no answer can imitate this.
_USAGE = re.compile(rb'"usage":(\{"[a-z_]+":\d+[^{}]*(?:\{[^{}]*\}[^{}]*)*\})')


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as the engine reports them."""

    prompt: int
    completion: int


def ask_for_usage(raw: bytes, options: object) -> bytes:
    """Return the body of a streaming request with include_usage added; `options` is its stream_options."""
    end = raw.rindex(b"}")
    if isinstance(options, dict):
        merged = to_json({"stream_options": {**options, **_ADDED}})
        return raw[:end] + b"," + merged[1:]
    return raw[:end] + b"," + _ASK


def find_usage(body: bytes) -> Usage | None:
    """Return the last usage in a response body or an event of a stream."""
    if b'"usage":{' not in body:
        return None
    found = _USAGE.findall(body)
    if not found:
        return None
    counts = from_json(found[-1])
    prompt = counts.get("prompt_tokens", counts.get("input_tokens"))
    completion = counts.get("completion_tokens", counts.get("output_tokens"))
    if prompt is None:
        return None
    return Usage(int(prompt), int(completion or 0))


def without_usage_event(chunk: bytes) -> bytes:
    """Remove the events that only carry usage (their choices are empty) from a piece of a stream."""
    events = chunk.split(b"\n\n")
    kept = [e for e in events if not (b'"choices":[]' in e and _USAGE.search(e) is not None)]
    return b"\n\n".join(kept) if len(kept) < len(events) else chunk
