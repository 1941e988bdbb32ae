"""Logs: the line of an engine's that says what went wrong, following one, and rotated private ones."""

from __future__ import annotations

import logging.handlers
import re
import time
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import cast

from quantserve.core.files import open_private, private_folder

_TAIL_BYTES = 200_000
# "ValueError: ...", "torch.OutOfMemoryError: ...", after vLLM's "(EngineCore pid=1) ERROR 11-22 … [x.py:1] "
_RAISED = re.compile(r"(?:^|\s)((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit))\b: (.+)")
_DIED = re.compile(r"Worker proc \S+ died unexpectedly \(exit code: -\d+\).*")
_USAGE = re.compile(r"error: (.+)")
_FATAL = re.compile(r"(Segmentation fault|Illegal instruction|Killed|Bus error|Out of memory).*", re.I)
# pydantic says what is wrong in the lines after: "  Value error, … [type=value_error, …]"
_INVALID = re.compile(r"\d{1,9} validation errors? for \S{1,200}$")
_PROCESS = re.compile(r"^\(\w+ pid=\d+\)")
# These only say that something else failed.
_ECHOES = (
    "Engine core initialization failed",
    "See root cause above",
    "WorkerProc initialization failed",
    "See stack trace (above) for the root cause",
)


def read_tail(path: Path, limit_bytes: int = _TAIL_BYTES) -> str:
    """Return the last part of a file as text; empty when there is no file."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - limit_bytes))
            return stream.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def telling_line(log: str) -> str:
    """Return the first exception that is not an echo of another, else the last line; "" for no log."""
    lines = [line for line in log.splitlines() if line.strip()]
    for pattern in (_DIED, _RAISED, _USAGE, _FATAL):
        for number, line in enumerate(lines, start=1):
            found = pattern.search(line)
            if found and not any(echo in line for echo in _ECHOES):
                return (found.group(0).strip() + _invalid(line, lines[number:]))[:400]
    return lines[-1].strip()[:400] if lines else ""


def last_raised(log: str) -> str:
    """Return the last exception that is not an echo of another; "" for none."""
    lines = [line for line in log.splitlines() if line.strip()]
    for number in range(len(lines), 0, -1):
        line = lines[number - 1]
        found = _RAISED.search(line)
        if found and not any(echo in line for echo in _ECHOES):
            return (found.group(0).strip() + _invalid(line, lines[number:]))[:400]
    return ""


def _invalid(line: str, after: Sequence[str]) -> str:
    """Return what a pydantic error says in the lines after its first; "" for another error."""
    if not _INVALID.search(line):
        return ""
    said = ""
    for following in after[:3]:
        words, marked, _ = _PROCESS.sub("", following).partition(" [type=")
        said += f": {words.strip()}"
        if marked:
            break
    return said


def last_words(log: str, program: str = "serving") -> str:
    """Return the error a program of ours ended with, as `core.console.run_app` prints it; "" for none."""
    said = [line for line in log.splitlines() if line.startswith(f"{program}: ")]
    return said[-1].removeprefix(f"{program}: ") if said else ""


def follow(path: Path, *, from_end: bool = False, poll_s: float = 0.3) -> Iterator[str]:
    """Yield what a file holds and then what is added to it, for ever; a replaced file is begun anew."""
    position, inode = 0, None
    if from_end and path.is_file():
        position, inode = path.stat().st_size, path.stat().st_ino
    while True:
        if path.is_file():
            status = path.stat()
            if inode != status.st_ino or status.st_size < position:
                position, inode = 0, status.st_ino
            if status.st_size > position:
                with path.open("rb") as stream:
                    stream.seek(position)
                    text = stream.read()
                position += len(text)
                yield text.decode("utf-8", errors="replace")
                continue
        time.sleep(poll_s)


class PrivateLogFile(logging.handlers.RotatingFileHandler):
    """A log rotated by size that its owner alone may read, the new file after each rotation too."""

    def __init__(self, path: Path, max_bytes: int, files: int) -> None:
        """Open it, and make its folder; `files` old ones are kept.

        Raises:
            OSError: it cannot be written.
        """
        private_folder(path.parent)
        super().__init__(path, maxBytes=max_bytes, backupCount=files, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        return cast("TextIOWrapper", open_private(Path(self.baseFilename), self.mode, self.encoding))
