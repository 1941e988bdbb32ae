"""What the engine says about a request it refuses, as our clients read it: OpenAI's shape, and our options.

vLLM's messages name its own command line, which whoever asks cannot see and whoever serves does not write.
Each flag that is ours under another name is called by that; every other is left out of the message.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pydantic_core import from_json

from quantserve.serving.guard.refusal import Refusal, bad_value

_FLAG = re.compile(r"`?--[a-z][a-z0-9-]{2,60}`?")
_OURS = {
    "--tool-call-parser": "tool_parser in the server's profile",
    "--enable-auto-tool-choice": "tool_parser in the server's profile",
    "--chat-template": "the model's own chat template",
    "--max-model-len": "max_model_length in the server's profile",
}
_NO_ROOM = "max_tokens must be at least 1, got 0"
_GENERATION_FAILED = "Internal server error"
"""All that vLLM says of an answer that it had to give up; with a constraint, because of that."""
_UNNAMED = "an option of the server"
_MOST_CHARS = 4096


@dataclass(frozen=True)
class Context:
    """What the guard knows of the request."""

    window: int
    """Tokens of prompt and answer together."""
    asked_for_none: bool = False
    """Whether it asked for an answer of no tokens itself."""
    constrained: str | None = None
    """The field that holds a schema, pattern or grammar its answer must follow."""


def translate(status: int, body: bytes, context: Context) -> Refusal:
    """Return the refusal that stands for an engine's error."""
    message, param = _read(status, body)
    field = context.constrained
    if field is not None and message == _GENERATION_FAILED:
        return bad_value(
            f"{field} cannot be followed to the end: a part of it that the answer came to takes too much to "
            "compute; make it simpler",
            field,
        )
    reason = "engine_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "engine_refused"
    if _NO_ROOM in message and not context.asked_for_none:
        message = (
            f"the prompt fills the model's window of {context.window} tokens and leaves no room for an "
            "answer; shorten it"
        )
        param, reason = "messages" if param == "messages" else None, "context_length_exceeded"
    elif "maximum context length" in message:
        reason = "context_length_exceeded"
    elif status == HTTPStatus.NOT_FOUND and param == "model":
        reason = "model_not_found"
    return Refusal(status, reason, own_words(message), param=param)


def own_words(message: str) -> str:
    """Return a message without vLLM's flags."""
    said: set[str] = set()

    def named(found: re.Match[str]) -> str:
        ours = _OURS.get(found.group().strip("`"), _UNNAMED)
        said.add(ours)
        return ours

    text = _FLAG.sub(named, message[:_MOST_CHARS])
    for ours in said:
        for between in (" and ", " and/or ", " or "):
            text = text.replace(f"{ours}{between}{ours}", ours)
    return text


def _read(status: int, body: bytes) -> tuple[str, str | None]:
    """Return the message and the field of an error in OpenAI's, Anthropic's or FastAPI's shape."""
    try:
        found: Any = from_json(body)
    except ValueError:
        found = None
    if isinstance(found, dict):
        error = found.get("error", found.get("detail"))
        if isinstance(error, dict) and isinstance(error.get("message"), str):
            param = error.get("param")
            return error["message"], param if isinstance(param, str) else None
        if isinstance(error, str):
            return error, None
    return HTTPStatus(status).phrase.lower(), None
