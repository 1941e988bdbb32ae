"""Process groups and parent-death signals: what keeps a killed launcher from leaving orphans."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import time
from pathlib import Path

_MOST_FILES = 1 << 20
_GIVING_WAY = 5
"""Of 19 steps of priority."""
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _LIBC.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def die_with_parent(signum: signal.Signals = signal.SIGTERM, *, expected_parent: int | None = None) -> None:
    """Ask the kernel to signal this process when the thread that started it ends.

    A parent that died before the call is noticed too, by its id when `expected_parent` is given.
    """
    parent = os.getppid() if expected_parent is None else expected_parent
    _prctl(_PR_SET_PDEATHSIG, signum)
    if os.getppid() != parent or parent == 1:
        os.kill(os.getpid(), signum)


def adopt_orphans() -> None:
    """Make descendants whose parent died our children, so that they can be found and reaped."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def signal_group(group: int, signum: signal.Signals) -> None:
    """Signal every process of a group; one that is gone already is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signum)


def group_alive(group: int) -> bool:
    """Whether any process of the group still exists; our own dead children are reaped first."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def end_group(group: int, grace_s: float) -> None:
    """SIGTERM, wait up to `grace_s` seconds, SIGKILL what is left."""
    signal_group(group, signal.SIGTERM)
    end = time.monotonic() + grace_s
    while time.monotonic() < end and group_alive(group):
        time.sleep(0.05)
    signal_group(group, signal.SIGKILL)
    end = time.monotonic() + 5.0
    while time.monotonic() < end and group_alive(group):
        time.sleep(0.02)


def process_alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:  # noqa: PTH123
            return stream.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def start_ticks(pid: int) -> int | None:
    """Return the kernel's start time of a process (field 22 of /proc/PID/stat), None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:  # noqa: PTH123
            return int(stream.read().rpartition(")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return None


def give_way() -> None:
    """Let those go first who need a processor for a moment: the API server, clients, other programs.

    One engine waits now and then, for its threads or in Python on one of several processors. Copies that each
    hold a processor never do, and Linux 6.18 left processes of other sessions waiting behind them for up to
    four seconds, at equal priority (sched_autogroup). Behind nobody else an engine loses nothing by it.
    """
    os.nice(_GIVING_WAY)
    with contextlib.suppress(OSError):  # this kernel does not group by session, or it was said a moment ago
        Path("/proc/self/autogroup").write_text(str(_GIVING_WAY), encoding="ascii")


def file_limit() -> int:
    """Return how many files and connections a process of ours may have open, once it has raised its limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)


def raise_file_limit() -> None:
    """Let this process have as many files and connections open as the machine lets it.

    A server at its limit takes no connection any more, not even to refuse it: what comes waits in the kernel.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = file_limit()
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
