"""Files are read in another process, within limits of memory and time for each; one bad file costs one file.

A file that needs too much, takes too long or crashes its parser ends that process, which is replaced for the
next file. Time is the processor time of that process, so that a busy machine makes no file a bad one.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from quantserve.rag.config import ReadConfig
from quantserve.rag.errors import UnreadableDocument
from quantserve.rag.loaders.document import Section, Sections, Warn

_ROOT = Path(__file__).parents[2]
_LOOK_EVERY_S = 0.05
_BLOCK_BYTES = 1 << 20
_TICKS = os.sysconf("SC_CLK_TCK")
_USED_UP = 0.5
"""A process that holds more than this share of a file's memory between two files is replaced."""


class IsolatedReader:
    """Reads one file after the other; the process is started with the first."""

    def __init__(self, config: ReadConfig | None = None) -> None:
        """Nothing runs yet."""
        self._config = config if config is not None else ReadConfig()
        self._process: subprocess.Popen[bytes] | None = None
        self._received = bytearray()

    def read(self, path: Path, warn: Warn) -> Sections:
        """Yield the sections of a file, as `rag.loaders.registry.read`; each has a bounded length.

        Raises:
            UnreadableDocument: its kind is unknown, it cannot be read, holds no text, or takes too much.
        """
        worker = self._worker()
        memory = self._config.memory_bytes
        seconds = self._config.reading_s(_size_bytes(path))
        watch = _Watch(worker.pid, path, memory, seconds, seconds * self._config.wall_factor)
        is_whole = False
        try:
            self._ask(worker, {"path": str(path), "memory_bytes": memory})
            for answer in self._answers(worker, watch):
                if "section" in answer:
                    yield Section(**answer["section"])
                elif "warning" in answer:
                    warn(answer["warning"])
                else:
                    is_whole = True
                    if answer["problem"]:
                        raise UnreadableDocument(answer["problem"], mend=answer["mend"])
        finally:
            if not is_whole or _resident_bytes(worker.pid) > _USED_UP * memory:
                self.close()

    def _worker(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self.close()  # it died between two files
        if self._process is None:
            # Few arenas: each takes its room in the address space, which is what is limited.
            environment = {**os.environ, "PYTHONPATH": str(_ROOT), "MALLOC_ARENA_MAX": "2"}
            self._received.clear()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "quantserve.rag.loaders.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=environment,
            )
        return self._process

    @staticmethod
    def _ask(worker: subprocess.Popen[bytes], question: dict[str, Any]) -> None:
        if worker.stdin is None:
            raise RuntimeError("the reader was started without a pipe")
        try:
            worker.stdin.write(json.dumps(question).encode("ascii") + b"\n")
            worker.stdin.flush()
        except BrokenPipeError:
            return  # it is dead: the first look at its answers says how

    def _answers(self, worker: subprocess.Popen[bytes], watch: _Watch) -> Iterator[dict[str, Any]]:
        """Yield what the worker says up to the file's end.

        Raises:
            UnreadableDocument: it died, or had to be ended.
        """
        if worker.stdout is None:
            raise RuntimeError("the reader was started without a pipe")
        descriptor = worker.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while True:
            end = self._received.find(b"\n")
            if end >= 0:
                answer: dict[str, Any] = json.loads(self._received[:end])
                del self._received[: end + 1]
                yield answer
                if "end" in answer:
                    return
                continue
            asked = time.monotonic()
            has_more = bool(poll.poll(_LOOK_EVERY_S * 1000))
            watch.waited_s += time.monotonic() - asked
            if has_more:
                block = os.read(descriptor, _BLOCK_BYTES)
                if not block:
                    raise watch.died(worker.wait())
                self._received += block
            watch.check()

    def close(self) -> None:
        """End the process, whatever it does."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        """Return the reader."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        self.close()


class _Watch:
    """Looks at what one file takes."""

    def __init__(self, pid: int, path: Path, memory_bytes: int, cpu_s: float, wall_s: float) -> None:
        self._pid, self._name = pid, path.name
        self._memory, self._cpu_s, self._wall_s = memory_bytes, cpu_s, wall_s
        self._resident, self._cpu = _resident_bytes(pid), _cpu_seconds(pid)
        self.waited_s = 0.0

    def check(self) -> None:
        """Raise UnreadableDocument when a limit is passed."""
        if _resident_bytes(self._pid) - self._resident > self._memory:
            raise self._too_much(f"{self._memory >> 20:,} MiB of memory")
        if _cpu_seconds(self._pid) - self._cpu > self._cpu_s:
            raise self._too_much(f"{self._cpu_s:,.0f} s of processor time")
        if self.waited_s > self._wall_s:
            raise self._too_much(f"{self._wall_s:,.0f} s")

    def _too_much(self, limit: str) -> UnreadableDocument:
        return UnreadableDocument(
            f"{self._name}: reading it takes more than {limit}",
            mend="Give it in smaller parts, or as plain text",
        )

    def died(self, code: int) -> UnreadableDocument:
        """Return what a dead reader means for its file."""
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        # A library that gets no memory ends itself, by one of these.
        memory = f", or found its {self._memory >> 20:,} MiB of memory too little"
        why = memory if -code in (signal.SIGABRT, signal.SIGILL, signal.SIGTRAP) else ""
        return UnreadableDocument(
            f"{self._name}: its parser crashed{why} ({how})",
            mend="Save it again in its program, or as plain text",
        )


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # the reader says what is wrong


def _resident_bytes(pid: int) -> int:
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * resource.getpagesize()


def _cpu_seconds(pid: int) -> float:
    try:
        after_name = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        )
    except OSError:
        return 0.0
    user, system = after_name.split()[11:13]
    return (int(user) + int(system)) / _TICKS
