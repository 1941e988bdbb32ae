"""The peak memory of everything that a run started, however deep, detached servers too."""

from __future__ import annotations

import os
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MARK = "QUANTSERVE_RUN"
_PERIOD_S = 0.5
_OWN = re.compile(rb"^(?:RssAnon|RssShmem):\s+(\d+) kB", re.MULTILINE)
_PARENT = re.compile(rb"^PPid:\s+(\d+)$", re.MULTILINE)


class PeakMemory:
    """Samples /proc twice a second.

    Processes are known by a variable that all our children inherit, and by their parent: an engine that
    writes its name over its command line (setproctitle) loses what /proc shows of its environment.
    """

    def __init__(self) -> None:
        """Mark this process, so that its children are marked."""
        os.environ[_MARK] = uuid.uuid4().hex
        self._mark = f"{_MARK}={os.environ[_MARK]}".encode()
        self._ours: dict[int, bool] = {}
        self.peaks: dict[str, int] = {}
        """Highest sum in bytes of each stage: anonymous and shared memory, not cached files.

        Pages that a process shares with the one it was forked from count in both, so the sum is an upper
        bound (exact shares cost a walk over the page tables: 36 ms a sample for one engine)."""

    @contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """Sample until the block ends."""
        over = threading.Event()

        def sample() -> None:
            while True:
                self.peaks[stage] = max(self.peaks.get(stage, 0), self._sum())
                if over.wait(_PERIOD_S):
                    return

        sampler = threading.Thread(target=sample, daemon=True)
        sampler.start()
        try:
            yield
        finally:
            over.set()
            sampler.join()

    def _sum(self) -> int:
        alive = {int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()}
        self._ours = {pid: mine for pid, mine in self._ours.items() if pid in alive and mine}
        return sum(self._own_bytes(pid) for pid in alive if self._is_ours(pid))

    def _is_ours(self, pid: int) -> bool:
        if pid not in self._ours:
            marked = self._mark in _read(Path(f"/proc/{pid}/environ")).split(b"\0")
            self._ours[pid] = marked or self._is_child_of_ours(pid)
        return self._ours[pid]

    def _is_child_of_ours(self, pid: int) -> bool:
        parent = _PARENT.search(_read(Path(f"/proc/{pid}/status")))
        return parent is not None and (int(parent[1]) == os.getpid() or self._is_ours(int(parent[1])))

    def _own_bytes(self, pid: int) -> int:
        return sum(int(kib) * 1024 for kib in _OWN.findall(_read(Path(f"/proc/{pid}/status"))))


def _read(path: Path) -> bytes:
    """Return a /proc file's bytes; nothing when the process has ended or belongs to somebody else."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""
