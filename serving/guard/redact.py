"""Secrets that clients put where they do not belong, taken out of whatever is logged.

A key belongs into a header, which nobody logs. Some clients put it into the address, a model's name or a text
that comes back in an error. No query string is logged at all: the API has none. What looks like a key of
ours, of OpenAI's kind, or follows a word like api_key is replaced wherever it stands.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "[hidden]"
_MARKS = frozenset("=:- ")
"""Without any of these no secret is recognized: the quick answer for most paths and names."""
_QUERY = re.compile(r"\?[^\s\"']*")
_KEYS = re.compile(r"\b(?:qs|sk|rag)-[A-Za-z0-9_-]{8,}")
_NAMED = re.compile(
    r"(?i)(?<![a-z0-9])((?:api[_-]?key|x-api-key|access[_-]?token|token|secret|password|authorization)"
    r"[\"']?[=:]\s{0,4}[\"']?(?:bearer\s)?)[^\s\"'&,;}]{4,}"
)
_BEARER = re.compile(r"(?i)\b(bearer )[A-Za-z0-9._~+/=-]{8,}")


def redact(text: str) -> str:
    """Return a text without what looks like a secret."""
    if _MARKS.isdisjoint(text):
        return text
    text = _BEARER.sub(rf"\1{HIDDEN}", text)
    text = _NAMED.sub(rf"\1{HIDDEN}", text)
    return _KEYS.sub(HIDDEN, text)


def without_query(path: str) -> str:
    """Return an address without its query, and without secrets in its path."""
    return redact(_QUERY.sub(f"?{HIDDEN}", path))


class _Filter(logging.Filter):
    """Rewrites a record before a handler writes it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, without secrets."""
        clean = without_query if record.name == "uvicorn.access" else redact
        if isinstance(record.msg, str):
            record.msg = redact(record.msg)
        args: Any = record.args
        if isinstance(args, tuple):
            record.args = tuple(_clean(value, clean) for value in args)
        elif isinstance(args, Mapping):
            record.args = {name: _clean(value, clean) for name, value in args.items()}
        if record.exc_info and not record.exc_text:
            record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
        return True


def _clean(value: Any, clean: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, int | float | type(None)):
        return value
    text = str(value)
    cleaned = clean(text)
    return value if cleaned == text else cleaned


def redact_logs() -> None:
    """Have every handler of this process leave secrets out."""
    found: set[logging.Handler] = set(logging.getLogger().handlers)
    for name in list(logging.root.manager.loggerDict):
        found.update(logging.getLogger(name).handlers)
    for handler in found:
        if not any(isinstance(known, _Filter) for known in handler.filters):
            handler.addFilter(_Filter())
