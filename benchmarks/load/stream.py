"""From the bytes of an OpenAI stream to stamps and counts. Pure: bytes and times in, fields out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from quantserve.benchmarks.records import Failure

EXTENSION = "quantserve"
"""Field in which our own servers report about themselves."""


@dataclasses.dataclass(slots=True)
class StreamAnswer:
    """What a stream said."""

    token_s: list[float] = dataclasses.field(default_factory=list)
    cumulative: list[int] = dataclasses.field(default_factory=list)
    """Tokens so far at each of those chunks, where the server counts them on every chunk."""
    text: list[str] = dataclasses.field(default_factory=list)
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    finish_reason: str | None = None
    extra: dict[str, Any] | None = None
    done: bool = False
    failure: Failure | None = None
    detail: str = ""

    @property
    def token_n(self) -> list[int] | None:
        """Tokens in each chunk, None unless the server told every time and the sum is right."""
        if len(self.cumulative) != len(self.token_s) or not self.cumulative:
            return None
        counts = [b - a for a, b in zip([0, *self.cumulative], self.cumulative, strict=False)]
        return counts if min(counts) >= 0 and self.cumulative[-1] == self.completion_tokens else None


def events(parts: Iterable[tuple[float, bytes]]) -> Iterator[tuple[float, bytes]]:
    """Split body pieces into the data of server-sent events, each with the time its end arrived.

    Follows the WHATWG rules that matter here: events end at a blank line, lines end in LF or CRLF,
    several `data:` lines are joined, comments and other fields are ignored.
    """
    rest = b""
    for now, piece in parts:
        rest += piece
        if b"\r" in rest:
            held = b"\r" if rest.endswith(b"\r") else b""
            rest = rest.removesuffix(b"\r").replace(b"\r\n", b"\n") + held
        if b"\n\n" not in rest:
            continue
        *whole, rest = rest.split(b"\n\n")
        for event in whole:
            if event.startswith(b"data:") and b"\n" not in event:
                yield now, event[5:].strip()
                continue
            lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
            if lines:
                yield now, b"\n".join(lines)


def parse(parts: Iterable[tuple[float, bytes]]) -> StreamAnswer:
    """Read an OpenAI completion or chat stream to its end."""
    answer = StreamAnswer()
    for now, data in events(parts):
        if data == b"[DONE]":
            answer.done = True
            break
        try:
            chunk = orjson.loads(data)
            _take(answer, now, chunk)
        except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
            answer.failure, answer.detail = Failure.MALFORMED, f"chunk {data[:120]!r}: {error}"
            return answer
        if answer.failure is not None:
            return answer
    if answer.text and not answer.text[-1] and len(answer.token_s) == (answer.completion_tokens or 0) + 1:
        # Some servers (llama.cpp) tell the finish reason in one more, empty chunk, which is no token.
        answer.token_s.pop()
        answer.text.pop()
    if not answer.done:
        answer.failure, answer.detail = Failure.MALFORMED, "the stream ended without [DONE]"
    elif not answer.token_s:
        answer.failure, answer.detail = Failure.EMPTY, "no token arrived"
    return answer


def _take(answer: StreamAnswer, now: float, chunk: dict[str, Any]) -> None:
    if "error" in chunk:
        answer.failure, answer.detail = Failure.ERROR_EVENT, str(chunk["error"])[:300]
        return
    usage = chunk.get("usage")
    if usage is not None:
        answer.prompt_tokens = usage.get("prompt_tokens")
        answer.completion_tokens = usage.get("completion_tokens")
        details = usage.get("prompt_tokens_details")
        if details:
            answer.cached_tokens = details.get("cached_tokens")
    if EXTENSION in chunk:
        answer.extra = chunk[EXTENSION]
    choices = chunk.get("choices")
    if not choices:
        return
    choice = choices[0]
    delta = choice.get("delta")
    if delta is None:
        text = choice.get("text")
    else:
        text = delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning")
        if text is None and delta.get("tool_calls"):
            text = ""
        elif text is None and "role" not in delta:
            text = delta.get("content")
    if choice.get("finish_reason"):
        answer.finish_reason = choice["finish_reason"]
    if text is None:
        return
    # A token whose bytes do not yet make a character comes as an empty text: it is a token all the same.
    answer.token_s.append(now)
    answer.text.append(text)
    if usage is not None and usage.get("completion_tokens") is not None:
        answer.cumulative.append(usage["completion_tokens"])
