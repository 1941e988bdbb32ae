"""The audit log: one JSON line a request, written in batches by a thread so that no disk holds up a token."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from quantserve.core.errors import InputError
from quantserve.core.logs import PrivateLogFile
from quantserve.serving.guard.settings import Audit

_BATCH_S = 0.2
_MOST_WAITING = 20_000


class AuditLog:
    """Appends entries to a file that is rotated by size. Without a file it does nothing."""

    def __init__(self, options: Audit) -> None:
        """Open the file.

        Raises:
            InputError: it cannot be written.
        """
        self.dropped = 0
        """Entries lost because the disk could not keep up."""
        self._lines: list[bytes] = []
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        if options.file is None:
            return
        path = Path(options.file)
        try:
            self._file = PrivateLogFile(path, options.max_bytes, options.files)
        except OSError as error:
            raise InputError(
                f"the audit log {path} cannot be written: {error.strerror}", mend="Choose another audit.file"
            ) from error
        self._thread = threading.Thread(target=self._write, name="audit", daemon=True)
        self._thread.start()

    def add(self, entry: dict[str, Any]) -> None:
        """Have an entry written within a fraction of a second; never waits."""
        if self._thread is None:
            return
        if len(self._lines) < _MOST_WAITING:
            self._lines.append(to_json(entry))
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
            # The event loop only appends to the list of the moment, so exchanging it loses nothing.
            lines, self._lines = self._lines, []
            if lines:
                text = b"\n".join(lines).decode()
                self._file.emit(logging.makeLogRecord({"msg": text}))
