"""Each request as one JSON line, written by a thread of its own and rotated by size."""

from __future__ import annotations

import json
import logging
import logging.handlers
import queue
import time
from datetime import UTC, datetime
from typing import Any

from quantserve.core.errors import InputError
from quantserve.core.logs import PrivateLogFile
from quantserve.rag.server.config import LogConfig
from quantserve.rag.server.exchange import Exchange

_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})


def entry_of(exchange: Exchange) -> dict[str, Any]:
    """Return what is written of a request: never a question, a document's text or a key."""
    at = datetime.fromtimestamp(exchange.began_ns / 1e9, UTC).isoformat(timespec="milliseconds")
    entry: dict[str, Any] = {
        "time": at,
        "request_id": exchange.request_id,
        "method": exchange.method,
        "path": exchange.path,
        "status": exchange.status,
        "seconds": round(exchange.seconds, 4),
    }
    if exchange.key:
        entry["key"] = exchange.key
    if exchange.reason:
        entry["reason"] = exchange.reason
    if (answer := exchange.answer) is not None:
        entry |= {
            "question_sha256": answer.question_sha256,
            "passages": [{"id": identity, "score": round(score, 6)} for identity, score in answer.passages],
            "stages": answer.seconds,
            "mode": answer.mode,
            "language": answer.language,
            "model": answer.model,
            "generation": answer.generation,
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "cached": answer.cached,
            "judged": list(answer.judged),
            "guard": answer.guard,
            "invented_citations": answer.invented_citations,
            "notes": list(answer.notes),
            "client_left": answer.client_left,
        }
    return entry


class RequestLog:
    """Appends to a rotated file; without a file it does nothing. Nobody waits for the disk."""

    def __init__(self, config: LogConfig) -> None:
        """Open the file.

        Raises:
            InputError: it cannot be written.
        """
        self._listener: logging.handlers.QueueListener | None = None
        if config.file is None:
            return
        try:
            self._file = PrivateLogFile(config.file, config.max_bytes, config.files)
        except OSError as error:
            raise InputError(
                f"the log {config.file} cannot be written: {error.strerror}",
                mend="Choose another: --log FILE",
            ) from error
        self._queue: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        self._listener = logging.handlers.QueueListener(self._queue, self._file)
        self._listener.start()

    def add(self, exchange: Exchange) -> None:
        """Have a request written; probes and the page's own files are not."""
        if exchange.path in _QUIET or exchange.path.startswith("/static/"):
            return
        self.write(entry_of(exchange))

    def note(self, **fields: Any) -> None:
        """Have something else written, such as the end of an indexing job."""
        at = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
        self.write({"time": at, **fields})

    def write(self, entry: dict[str, Any]) -> None:
        """Have an object written."""
        if self._listener is not None:
            text = json.dumps(entry, ensure_ascii=False)
            self._queue.put(logging.makeLogRecord({"msg": text}))

    def close(self) -> None:
        """Write what waits and end."""
        if self._listener is not None:
            self._listener.stop()
            self._listener = None
            self._file.close()
