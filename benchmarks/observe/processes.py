"""Memory and CPU of a server's process tree, and what the rest of the machine was doing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

import psutil

_MEMORY_PERIOD_S = 5.0
"""The kernel walks all pages of a process for it: of an engine, every second, two per cent of two cores."""


class ProcessTree:
    """A process and its descendants, measured together."""

    def __init__(self, pid: int) -> None:
        """`pid` need not live for long; a vanished process counts as nothing."""
        self._pid = pid
        self._memory, self._memory_until = 0.0, 0.0

    def _members(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self._pid)
            return [root, *root.children(recursive=True)]
        except psutil.Error:
            return []

    def sample(self) -> dict[str, float]:
        """`memory_bytes` (proportional set size: shared pages once), `cpu_s` so far, open `descriptors`.

        The memory is up to five seconds old.
        """
        members = self._members()
        if members and monotonic() >= self._memory_until:
            self._memory, self._memory_until = _memory_bytes(members), monotonic() + _MEMORY_PERIOD_S
        cpu = descriptors = 0.0
        for member in members:
            with contextlib.suppress(psutil.Error, OSError):
                times = member.cpu_times()
                cpu += times.user + times.system
                descriptors += member.num_fds()
        return {"memory_bytes": self._memory, "cpu_s": cpu, "descriptors": descriptors} if cpu else {}


def _memory_bytes(members: Sequence[psutil.Process]) -> float:
    memory = 0.0
    for member in members:
        with contextlib.suppress(psutil.Error, OSError):
            memory += _pss_bytes(member.pid) or member.memory_info().rss
    return memory


def _pss_bytes(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def machine_sample() -> dict[str, float]:
    """CPU seconds of the whole machine since boot: busy, and stolen by the host."""
    times = psutil.cpu_times()
    steal = float(getattr(times, "steal", 0.0))
    busy = (
        times.user + times.system + times.nice + getattr(times, "irq", 0.0) + getattr(times, "softirq", 0.0)
    )
    return {"machine_cpu_s": float(busy), "machine_steal_s": steal}


def own_cpu_s(server_pid: int | None) -> float:
    """CPU seconds of this process, its children and those it has waited for, without a server it started."""
    times = os.times()
    total = times.user + times.system + times.children_user + times.children_system
    server: set[int] = set()
    if server_pid is not None:
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(server_pid)
            server = {root.pid, *(child.pid for child in root.children(recursive=True))}
    for child in psutil.Process().children(recursive=True):
        if child.pid in server:
            continue
        with contextlib.suppress(psutil.Error):
            spent = child.cpu_times()
            total += spent.user + spent.system
    return total
