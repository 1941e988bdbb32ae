"""How many tokens a text takes: by the served model's own tokenizer, else by an estimate that is safe.

vLLM offers its tokenizer as POST /tokenize beside /v1. A server without it is asked once a minute.
"""

from __future__ import annotations

import functools
import math
import re
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from quantserve.rag.llm.background import submit
from quantserve.rag.llm.failures import failures
from quantserve.rag.llm.served import ServedModel

CountTokens = Callable[[str], int]
Post = Callable[[str, dict[str, Any]], Coroutine[Any, Any, Any]]
_KEPT = 4096
_BELIEVED_S = 60.0
_WORD = re.compile(r"[A-Za-z]+")
_LETTERS_PER_TOKEN = 3.2
"""English prose has four and more; names and identifiers fewer."""


def estimate_tokens(text: str) -> int:
    """Estimate a text's tokens for an unknown tokenizer, rather too many than too few.

    Letters of a word share tokens; every digit, sign and line break may be one by itself; any other
    character takes as many as it has UTF-8 bytes, which is what a byte-level tokenizer that does not know
    the script spends on it. A blank before a word goes with it.
    """
    words = _WORD.findall(text)
    in_words = sum(map(len, words))
    tokens = float(sum(math.ceil(len(word) / _LETTERS_PER_TOKEN) for word in words))
    rest = _WORD.sub("", text)
    single_blanks = len(re.findall(r"(?<! ) (?=[A-Za-z])", text))
    ascii_rest = sum(character.isascii() for character in rest) - single_blanks
    other = len(text.encode()) - in_words - single_blanks - ascii_rest
    return math.ceil(tokens + max(0, ascii_rest) + other)


class _NoTokenizer(Exception):
    """The server did not count."""


class TokenCounter:
    """Counts for one server; results are remembered, since passages come again and again."""

    def __init__(self, post: Post) -> None:
        """`post` sends a body to a path beside /v1; nothing is asked yet."""
        self._post = post
        self._lock = threading.Lock()
        self._without: tuple[str, float] = ("", 0.0)
        """The model whose server does not count, and until when that is believed."""
        self._count = functools.lru_cache(_KEPT)(self._ask)

    def of(self, model: ServedModel) -> CountTokens:
        """Return what counts a text's tokens for `model`."""
        return lambda text: self._tokens(model, text)

    def _tokens(self, model: ServedModel, text: str) -> int:
        with self._lock:
            fingerprint, until = self._without
        if fingerprint != model.fingerprint or time.monotonic() > until:
            try:
                return self._count(model, text)
            except _NoTokenizer:
                with self._lock:
                    self._without = (model.fingerprint, time.monotonic() + _BELIEVED_S)
        return estimate_tokens(text)

    def _ask(self, model: ServedModel, text: str) -> int:
        body = {"model": model.name, "prompt": text, "add_special_tokens": False}
        try:
            answered = submit(self._post("/tokenize", body)).result()
        except failures() as error:
            # The estimate is safe, and the request for the answer itself will tell what ails the server.
            raise _NoTokenizer from error
        count = answered.get("count") if isinstance(answered, dict) else None
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise _NoTokenizer
        return count
