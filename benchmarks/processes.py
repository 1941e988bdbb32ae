"""The processes of a server: which ones they are, and what they and the rest of the machine use.

Without them nobody can tell what the server uses from what everything else on the machine does. What the
server passes requests on to on this machine (a front's replicas, a container's port) belongs to it, and is
found by following its connections; one that leads to another machine ends the search, because what else
that machine does cannot be seen from here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import psutil

_ANYWHERE = frozenset({"0.0.0.0", "::"})


@dataclasses.dataclass(frozen=True)
class Owners:
    """The server's processes."""

    pids: tuple[int, ...] = ()
    """Roots of their trees; empty when they are not known."""
    unknown: str = ""
    """Why they are not known."""


def owners_of(base_url: str) -> Owners:
    """Find the processes of a server that has just answered at `base_url`."""
    parts = urlsplit(base_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        addresses = {str(found[4][0]) for found in socket.getaddrinfo(parts.hostname, port)}
    except OSError as error:
        return Owners(unknown=f"{parts.hostname} has no address here any more ({error})")
    ours = _own_addresses()
    if not all(_is_local(address, ours) for address in addresses):
        return Owners(
            unknown="the server runs on another machine, and what else that one does is not seen here"
        )
    try:
        return _behind(port, ours)
    except psutil.NoSuchProcess as error:
        return Owners(unknown=f"process {error.pid} of the server ended while it was looked for")


def _behind(port: int, ours: frozenset[str]) -> Owners:
    listening = _listening()
    roots: set[int] = set()
    ports, seen = [port], set[int]()
    while ports:
        number = ports.pop()
        seen.add(number)
        found = listening.get(number)
        if not found:
            return Owners(unknown=f"the process that listens on port {number} belongs to another user")
        roots |= {_topmost(pid, number) for pid in found}
        for local, host, remote in _onward(roots):
            if local in listening:
                continue  # somebody who asks the server
            if not _is_local(host, ours):
                return Owners(unknown=f"the server on port {port} passes requests on to another machine")
            if remote not in seen and remote in listening and not _within(listening[remote], roots):
                ports.append(remote)
                seen.add(remote)
    return Owners(pids=tuple(sorted(roots)))


def _listening() -> dict[int, set[int]]:
    """Processes by the TCP port they listen on; a port whose process may not be seen has none."""
    found: dict[int, set[int]] = {}
    for one in psutil.net_connections("tcp"):
        if one.status == psutil.CONN_LISTEN and one.laddr:
            pids = found.setdefault(one.laddr.port, set())
            if one.pid is not None:
                pids.add(one.pid)
    return found


def _topmost(pid: int, port: int) -> int:
    """The highest ancestor that holds the same socket: a supervisor opens it and its engine inherits it."""
    top = pid
    for parent in psutil.Process(pid).parents():
        if any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in _sockets(parent)):
            top = parent.pid
    return top


def _onward(roots: set[int]) -> Iterator[tuple[int, str, int]]:
    """(own port, other host, other port) of every connection that the trees have."""
    for root in roots:
        process = psutil.Process(root)
        for member in (process, *process.children(recursive=True)):
            for one in _sockets(member):
                if one.status == psutil.CONN_ESTABLISHED and one.raddr:
                    yield one.laddr.port, one.raddr.ip, one.raddr.port


def _within(pids: set[int], roots: set[int]) -> bool:
    trees = {child.pid for root in roots for child in psutil.Process(root).children(recursive=True)} | roots
    return pids <= trees


def _sockets(process: psutil.Process) -> list[Any]:
    try:
        return list(process.net_connections("tcp"))
    except psutil.Error:  # it ended, or belongs to somebody else
        return []


def _own_addresses() -> frozenset[str]:
    return frozenset(one.address for group in psutil.net_if_addrs().values() for one in group) | _ANYWHERE


def _is_local(address: str, ours: frozenset[str]) -> bool:
    plain = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(plain, "ipv4_mapped", None) or plain
    return mapped.is_loopback or str(mapped) in ours


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


def is_running(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
