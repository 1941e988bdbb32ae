"""The output file: what of it is finished, and appending to it so that a kill costs one line at most."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from quantserve.core.errors import InputError
from quantserve.core.files import exclusive_lock, open_private


@dataclass
class Output:
    """An output file open for appending."""

    finished: set[str]
    """custom_id of every line that need not be asked again."""
    _stream: IO[str]

    def add(self, line: str) -> None:
        """Append a line; it is with the kernel when this returns."""
        self._stream.write(line)
        self._stream.flush()


def is_finished(line: bytes) -> str | None:
    """Return the custom_id of a finished line: an answer that asking again would not better.

    A torn line, a line that was not asked and an error of the server's (5xx) are done again.
    """
    try:
        entry = json.loads(line)
        status, name = entry["response"]["status_code"], entry["custom_id"]
    except (ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) and isinstance(status, int) and status < 500 else None


def _keep_finished(path: Path) -> set[str]:
    """Leave only finished lines in the file, each once; a rewritten file replaces the old one by a rename."""
    finished: set[str] = set()
    aside = path.with_name(f".{path.name}.new")
    changed = False
    with path.open("rb") as old, open_private(aside, "wb") as new:
        for line in old:
            name = is_finished(line) if line.endswith(b"\n") else None
            if name is None or name in finished:
                changed = True
                continue
            finished.add(name)
            new.write(line)
        new.flush()
        os.fsync(new.fileno())
    if changed:
        os.replace(aside, path)
    else:
        aside.unlink()
    return finished


@contextmanager
def open_output(path: Path) -> Iterator[Output]:
    """Open an output file, alone, and read what is finished in it.

    Raises:
        InputError: it cannot be written.
        Locked: another batch writes it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(path.with_name(f".{path.name}.lock"), f"a batch into {path}", private=True):
            finished = _keep_finished(path) if path.is_file() else set()
            with open_private(path, "a", encoding="utf-8") as stream:
                yield Output(finished, stream)
                stream.flush()
                os.fsync(stream.fileno())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}", mend="Give another file") from error
