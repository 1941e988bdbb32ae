"""How many tokens a request may take at most, told from its bytes alone. Pure, and without a tokenizer.

A token stands for at least one byte of text in every tokenizer that the engine knows: byte-level BPE,
SentencePiece with byte fallback, WordPiece. Only where a tokenizer normalizes its text first (NFKC) can a
character become longer, so such text counts in both forms. What a chat template adds was measured by the
plan, which renders it (`measure_template`). No prompt is longer than the model's window, and so no text
beyond that length is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Never
from unicodedata import is_normalized, normalize

from quantserve.serving.guard.request.limits import TokenBounds

_COMPLETIONS_DEFAULT = 16
"""Tokens of an answer of /v1/completions that does not say how many: OpenAI's number, and vLLM's."""
_MEDIA_FIELDS = frozenset(
    {
        "image_url",
        "video_url",
        "audio_url",
        "input_audio",
        "input_image",
        "image",
        "audio",
        "video",
        "source",
        "file",
    }
)
_AUDIO_BYTES_A_SECOND = 2000
"""Speech codecs hardly go below 16 kbit/s."""
_AUDIO_WINDOW_S = 30
"""Whisper hears so much at a time, and may fill its window for each."""
_DICT_ENTRY = 2
_NUMBER = 24
"""The longest a number is written."""
_SPECIALS = 4
"""Tokens a tokenizer puts before, between and after texts."""
_BESIDE = ("system", "instructions", "documents", "chat_template_kwargs")
"""What a template may write beside the turns."""
_CONVERSATIONS = frozenset({"chat", "responses", "messages"})
_GENERATING = frozenset({*_CONVERSATIONS, "completions", "extra"})
_POOLING = frozenset({"embeddings", "rerank", "score", "classify"})
_ASKED: dict[str, tuple[str, ...]] = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "completions": ("max_tokens",),
    "responses": ("max_output_tokens",),
    "messages": ("max_tokens",),
}
"""The length of an answer, where each endpoint looks for it. A field that the engine does not read bounds
nothing, whatever a client writes there."""
_TRUNCATED = frozenset({"chat", "completions", *_POOLING})
"""Endpoints that cut a prompt to truncate_prompt_tokens."""
_TEXT = "x"
_FAILURES = (
    *(TypeError, ValueError, LookupError, AttributeError, ArithmeticError),
    *(RecursionError, MemoryError),
)
"""What a template may raise that was written for other messages, or for harm."""
_TOOL = {
    "type": "function",
    "function": {
        "name": _TEXT,
        "description": _TEXT,
        "parameters": {"type": "object", "properties": {_TEXT: {"type": "string", "description": _TEXT}}},
    },
}


def text_tokens(text: str, most: int) -> int:
    """Return the most tokens a text can become, at most `most`."""
    if len(text) >= most:
        return most
    if text.isascii():
        return len(text)
    size = len(text.encode("utf-8", "surrogatepass"))
    if size < most and not is_normalized("NFKC", text):
        size += len(normalize("NFKC", text).encode("utf-8", "surrogatepass"))
    return min(most, size)


def most_tokens(endpoint: str, body: dict[str, Any], bounds: TokenBounds, answers: int) -> int:
    """Return the most tokens a request can take: its prompts, and `answers` to each of them."""
    window = _window(endpoint, body, bounds)
    if endpoint in _CONVERSATIONS:
        turns = body.get("input" if endpoint == "responses" else "messages")
        prompts, count = _conversation(turns, body, bounds, window), 1
    elif endpoint in ("rerank", "score"):
        prompts, count = _pairs(body, window)
    else:
        prompts, count = _inputs(body, bounds, window)
    if endpoint not in _GENERATING:
        return prompts
    answer = _answer_tokens(endpoint, body, bounds)
    total = prompts + count * answers * answer
    # Prompt and answer share the window, so one answer to each prompt cannot take more than that.
    return total if answers > 1 else min(total, count * bounds.window)


def audio_tokens(size_bytes: int, bounds: TokenBounds) -> int:
    """Return what a file of sound can take: a window for each half minute it could last."""
    return bounds.window * (1 + size_bytes // (_AUDIO_BYTES_A_SECOND * _AUDIO_WINDOW_S))


def _window(endpoint: str, body: dict[str, Any], bounds: TokenBounds) -> int:
    truncated = body.get("truncate_prompt_tokens")
    if endpoint in _TRUNCATED and type(truncated) is int and 0 < truncated < bounds.window:
        return truncated
    return bounds.window


def _answer_tokens(endpoint: str, body: dict[str, Any], bounds: TokenBounds) -> int:
    """Return the tokens to set aside for one answer: what is asked for, as far as a usual answer goes."""
    asked = next((body[name] for name in _ASKED.get(endpoint, ()) if body.get(name) is not None), None)
    if asked is None:
        asked = _COMPLETIONS_DEFAULT if endpoint == "completions" else bounds.reserved_answer
    return min(int(asked), bounds.reserved_answer, bounds.window)


def _conversation(turns: Any, body: dict[str, Any], bounds: TokenBounds, window: int) -> int:
    """All text of a conversation, what the template puts round it, and tools as a template writes them."""
    found = bounds.template_once
    found += bounds.template_turn * (len(turns) if isinstance(turns, list) else 1)
    if tools := body.get("tools"):
        found += bounds.template_tools + len(json.dumps(tools, indent=4))
    for part in (turns, *(body.get(name) for name in _BESIDE)):
        if found >= window:
            return window
        found += _tree(part, window)
    return min(window, found)


def _tree(node: Any, most: int) -> int:
    """Return the most tokens the text of a tree can become; a picture or a sound may fill the window."""
    found, stack = 0, [node]
    while stack and found < most:
        node = stack.pop()
        if type(node) is str:
            found += text_tokens(node, most)
        elif type(node) is dict:
            if not _MEDIA_FIELDS.isdisjoint(node):
                return most
            found += sum(len(name) + _DICT_ENTRY for name in node)
            stack.extend(node.values())
        elif type(node) is list:
            stack.extend(node)
        elif node is not None:
            found += _NUMBER
    return min(found, most)


def _one(entry: Any, window: int) -> int:
    """Return the most tokens of one prompt: a text, token ids, or a conversation's part."""
    if type(entry) is list and entry and type(entry[0]) is int:
        return min(window, len(entry))
    return min(window, _tree(entry, window) + _SPECIALS)


def _each(texts: Any, window: int) -> tuple[int, int]:
    """Return the most tokens of one prompt or a list of prompts together, and how many they are."""
    if type(texts) is not list or (texts and type(texts[0]) is int):
        return _one(texts, window), 1
    return sum(_one(entry, window) for entry in texts), max(1, len(texts))


def _inputs(body: dict[str, Any], bounds: TokenBounds, window: int) -> tuple[int, int]:
    """The most of what a body holds: which of several fields the engine reads is not told from outside."""
    found = [_each(body[name], window) for name in ("prompt", "input") if body.get(name) is not None]
    if body.get("messages") is not None:
        found.append((_conversation(body["messages"], body, bounds, window), 1))
    return _most(found)


def _pairs(body: dict[str, Any], window: int) -> tuple[int, int]:
    """A query is read with each of its documents, a first text with each second one."""

    def side(*names: str) -> tuple[int, int]:
        return _most([_each(body[name], window) for name in names if body.get(name) is not None])

    one, ones = side("query", "queries", "data_1", "text_1")
    other, others = side("documents", "items", "data_2", "text_2")
    pairs = max(ones, others)
    told = pairs * sum(_tree(body.get(name), window) for name in ("instruction", "chat_template_kwargs"))
    # An embedding model reads both sides by themselves, so a pair may be twice as long as the window.
    return one * -(-pairs // ones) + other * -(-pairs // others) + told, pairs


def _most(found: list[tuple[int, int]]) -> tuple[int, int]:
    return max((tokens for tokens, _ in found), default=0), max((count for _, count in found), default=1)


@dataclass(frozen=True)
class TemplateCost:
    """Bytes a template adds: once, for each message, and for tools beside their JSON."""

    once: int = 512
    turn: int = 64
    tools: int = 1024


def _raise(message: str) -> Never:
    raise ValueError(message)


def measure_template(template: str) -> TemplateCost:
    """Render a template with one message and with three; a guess for one that is missing or will not."""
    if not template:
        return TemplateCost()
    from jinja2 import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)

    def length(roles: Sequence[str], tools: Any = None) -> int:
        messages = [{"role": role, "content": _TEXT} for role in roles]
        text = environment.from_string(template).render(
            messages=messages, tools=tools, add_generation_prompt=True, bos_token="<s>", eos_token="</s>"
        )
        return len(text.encode("utf-8"))

    try:
        one, three = length(["user"]), length(["user", "assistant", "user"])
        with_tools = length(["user"], [_TOOL])
    except (TemplateError, *_FAILURES):
        return TemplateCost()  # it asks for something of its own; the guess is generous
    turn = -(-(three - one) // 2)
    return TemplateCost(once=one, turn=max(0, turn), tools=max(0, with_tools - one))
