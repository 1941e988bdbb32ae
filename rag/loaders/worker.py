"""Reads files in a process of its own, whose memory is limited: what a file does to it, it does to itself.

    python -m quantserve.rag.loaders.worker

Asked on stdin by lines of JSON, {"path": …, "memory_bytes": …}; it answers on stdout by lines of JSON, a
section, a warning, a problem or the end of the file each. `rag.loaders.isolated` is the other end.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import signal
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO

from quantserve.rag.errors import UnreadableDocument
from quantserve.rag.loaders.document import Section, Sections
from quantserve.rag.loaders.registry import read

MAX_SECTION_CHARACTERS = 64 << 10
"""Longer sections are handed on in parts, so that neither end holds a whole book as one text."""
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""Lone surrogates (of JSON, of PDFs) and NUL: no text that a database takes."""
_MOST_OF_MESSAGE = 200
_DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


def bounded(section: Section) -> Sections:
    """Yield a section in parts of a bounded length, cut at a paragraph, line or word where there is one in
    time."""
    text, at, row = section.text, 0, section.first_row
    if len(text) <= MAX_SECTION_CHARACTERS:
        yield section
        return
    while at < len(text):
        end = min(len(text), at + MAX_SECTION_CHARACTERS)
        if end < len(text):
            end = _good_cut(text, at, end)
        part = text[at:end]
        if part.strip():
            yield replace(section, text=part, start=section.start + at, first_row=row)
        row += part.count("\n") if section.unit == "rows" else 0
        at = end


def _good_cut(text: str, at: int, end: int) -> int:
    least = at + (end - at) // 2
    for mark in ("\n\n", "\n", " "):
        found = text.rfind(mark, least, end)
        if found >= 0:
            return found + len(mark)
    return end


def _virtual_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()


def _limit_memory(more_bytes: int | None) -> None:
    """Let this process grow by so much and no further; None: as it was."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = hard if more_bytes is None else _virtual_bytes() + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (soft if hard < 0 else min(soft, hard), hard))


class _Answers:
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def send(self, **fields: Any) -> None:
        self._stream.write(json.dumps(fields).encode("ascii") + b"\n")
        self._stream.flush()


def _read(path: Path, answers: _Answers) -> None:
    for section in read(path, lambda text: answers.send(warning=text)):
        clean = replace(
            section,
            text=_UNSTORABLE.sub("\ufffd", section.text),
            heading=_UNSTORABLE.sub("\ufffd", section.heading),
        )
        for part in bounded(clean):
            answers.send(section=asdict(part))


def serve(questions: BinaryIO, answers: _Answers) -> None:
    """Read the files asked for, one after the other, until nobody asks any more."""
    for line in questions:
        asked = json.loads(line)
        path = Path(asked["path"])
        problem, mend = "", ""
        try:
            _limit_memory(asked["memory_bytes"])
            _read(path, answers)
        except UnreadableDocument as error:
            problem, mend = error.problem, error.mend
        except MemoryError:
            problem = f"{path.name}: reading it takes more than {asked['memory_bytes'] >> 20:,} MiB of memory"
            mend = "Give it in smaller parts"
        except RecursionError:
            problem, mend = f"{path.name}: is nested too deeply", "Save its text as a file and give that"
        except Exception as error:  # noqa: BLE001  (a fault of a parser costs its file, and is named)
            message = f"{type(error).__name__}: {error}"[:_MOST_OF_MESSAGE]
            problem, mend = f"{path.name}: cannot be read ({message})", "Save it again, or as plain text"
        _limit_memory(None)
        answers.send(end=True, problem=problem, mend=mend)


def main() -> None:
    """Serve on stdin and stdout; what a library prints goes elsewhere."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends whoever asks, who then ends this process
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as stream:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        serve(sys.stdin.buffer, _Answers(stream))


if __name__ == "__main__":
    main()
