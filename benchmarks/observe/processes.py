"""Memory and CPU of a server's process trees, and what the rest of the machine was doing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

import psutil

_MEMORY_PERIOD_S = 5.0
"""The kernel walks all pages of a process for it: of an engine, every second, two per cent of two cores."""


class ProcessTrees:
    """Processes and their descendants, measured together."""

    def __init__(self, pids: Sequence[int]) -> None:
        """A process that has vanished counts as nothing."""
        self._pids = tuple(pids)
        self._memory, self._memory_until = 0.0, 0.0

    def sample(self) -> dict[str, float]:
        """`memory_bytes` (proportional set size: shared pages once), `cpu_s` so far, open `descriptors`.

        The memory is up to five seconds old. Processor time counts that of children that have ended.
        """
        found = members(self._pids)
        if found and monotonic() >= self._memory_until:
            self._memory, self._memory_until = _memory_bytes(found), monotonic() + _MEMORY_PERIOD_S
        cpu = descriptors = 0.0
        for member in found:
            with contextlib.suppress(psutil.Error, OSError):
                cpu += _spent_s(member)
                descriptors += member.num_fds()
        return {"memory_bytes": self._memory, "cpu_s": cpu, "descriptors": descriptors} if cpu else {}


def members(pids: Sequence[int]) -> list[psutil.Process]:
    """The processes of these trees, each once."""
    found: dict[int, psutil.Process] = {}
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(pid)
            found |= {one.pid: one for one in (root, *root.children(recursive=True))}
    return list(found.values())


def _spent_s(process: psutil.Process) -> float:
    """Processor seconds of a process and of the children it has waited for."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


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


def own_cpu_s(server_pids: Sequence[int] = ()) -> float:
    """CPU seconds of this process, its children and those it has waited for, without a server it started."""
    server = {member.pid for member in members(server_pids)}
    total = 0.0
    for process in members([os.getpid()]):
        if process.pid not in server:
            with contextlib.suppress(psutil.Error):
                total += _spent_s(process)
    return total
