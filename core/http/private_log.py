"""What is written of requests: JSON lines that their owner alone may read, without secrets.

A key belongs into a header, which nobody logs. Some clients put it into the address, a model's name or a text
that comes back in an error. No query string is logged at all: our APIs have none worth it. What looks like a
key of ours, of OpenAI's kind, or follows a word like api_key is replaced wherever it stands.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from quantserve.core.errors import InputError
from quantserve.core.logs import PrivateLogFile

_BATCH_S = 0.2
_MOST_WAITING = 20_000
_MOST_AT_ONCE_BYTES = 1 << 16
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


class _Redaction(logging.Filter):
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
        if not any(isinstance(known, _Redaction) for known in handler.filters):
            handler.addFilter(_Redaction())


def timestamp(seconds: float | None = None) -> str:
    """Return a moment, in seconds since 1970 and by default now, as logs have it: ISO 8601 in UTC."""
    when = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return when.isoformat(timespec="milliseconds")


class PrivateLog:
    """Appends a JSON line for each entry to a file rotated by size; without a file it does nothing.

    Written in batches by a thread, so that no disk holds up a token.
    """

    def __init__(self, file: Path | None, max_bytes: int, files: int, *, what: str, mend: str) -> None:
        """Open the file; `files` old ones are kept. `what` it is and the way out stand in an error.

        Raises:
            InputError: it cannot be written.
        """
        self.dropped = 0
        """Entries lost because the disk could not keep up."""
        self._waiting: deque[bytes] = deque()
        self._at_once_bytes = min(_MOST_AT_ONCE_BYTES, max_bytes)
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        if file is None:
            return
        try:
            self._file = PrivateLogFile(file, max_bytes, files)
        except OSError as error:
            raise InputError(f"the {what} {file} cannot be written: {error.strerror}", mend=mend) from error
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    @property
    def is_open(self) -> bool:
        """Whether entries are written."""
        return self._thread is not None

    def add(self, entry: dict[str, Any]) -> None:
        """Have an entry written within a fraction of a second; never waits."""
        if self._thread is None:
            return
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.append(to_json(entry))
        else:
            self.dropped += 1

    def close(self) -> None:
        """Write what waits and end."""
        if self._thread is not None:
            self._end.set()
            self._thread.join()
            self._thread = None
            self._file.close()

    def _write(self) -> None:
        ended = False
        while not ended:
            ended = self._end.wait(_BATCH_S)
            for text in self._batches():
                self._file.emit(logging.makeLogRecord({"msg": text}))

    def _batches(self) -> Iterator[str]:
        """Yield what waits, in lines put together; none makes a file larger than it may be."""
        lines: list[bytes] = []
        size = 0
        while self._waiting:
            line = self._waiting.popleft()
            if lines and size + len(line) >= self._at_once_bytes:
                yield b"\n".join(lines).decode()
                lines, size = [], 0
            lines.append(line)
            size += len(line) + 1
        if lines:
            yield b"\n".join(lines).decode()
