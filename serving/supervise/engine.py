"""One engine process and all its children: start it on the listening socket, watch it, end it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from multiprocessing import connection
from pathlib import Path
from typing import IO, Any

from quantserve.core.files import open_private, private_folder
from quantserve.core.logs import read_tail
from quantserve.serving.guard.launcher_line import (
    DRAINED,
    ENDED,
    LINE_VARIABLE,
    LISTENER_VARIABLE,
    LISTENING,
    Facts,
    Line,
)
from quantserve.serving.processes import end_group, group_alive, signal_group
from quantserve.serving.supervise.cause import Death, cause, oom_kills

_UMASK = 0o077
"""Whatever ours says: who can write to the sockets between vLLM's processes steers the engine."""
_KEPT_LINES = 2000
_TICK_S = 0.05
_MOST_LOG_BYTES = 4 << 20
_REPORT_S = 0.5
"""Time a report of how a child ended gets, once it is known that the engine serves nobody any more."""


def _exit_descriptor(pid: int) -> int | None:
    """A descriptor that has news when the process ends (Linux 5.3); None where a sandbox forbids it."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


class Engine:
    """A vLLM API server in its own process group, with the engine core and workers it starts."""

    def __init__(
        self, argv: list[str], env: dict[str, str], log: Path | None, listener: socket.socket
    ) -> None:
        """Start it. Without a log file its output goes on to our stderr and the last lines are kept."""
        self.started = time.monotonic()
        self._log = log
        self._kept: deque[str] = deque(maxlen=_KEPT_LINES)
        output: IO[bytes] | int = subprocess.PIPE
        if log is not None:
            private_folder(log.parent)
            output = open_private(log, "ab")
        self._log_start = log.stat().st_size if log is not None else 0
        self._served = False
        self._oom_kills = oom_kills()
        ours, theirs = socket.socketpair()
        self._line = Line(ours)
        self._heard: set[bytes] = set()
        self._reports: list[dict[str, Any]] = []
        handed = {LISTENER_VARIABLE: str(listener.fileno()), LINE_VARIABLE: str(theirs.fileno())}
        try:
            self._process = subprocess.Popen(
                argv,
                env={**os.environ, **env, **handed},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=_UMASK,
                pass_fds=(listener.fileno(), theirs.fileno()),
            )
        finally:
            theirs.close()
            if not isinstance(output, int):
                output.close()
        self._exit = _exit_descriptor(self._process.pid)
        if self._process.stdout is not None:
            threading.Thread(target=self._pump, args=(self._process.stdout,), daemon=True).start()

    def _pump(self, stream: IO[bytes]) -> None:
        for line in stream:
            text = line.decode("utf-8", errors="replace")
            self._kept.append(text)
            sys.stderr.write(text)
            sys.stderr.flush()

    def tell(self, facts: Facts) -> None:
        """Send what the launcher knows to the engine's process."""
        self._line.tell(facts)

    @property
    def listening(self) -> bool:
        """Whether its HTTP server has begun to take connections."""
        return self._has_said(LISTENING)

    @property
    def drained(self) -> bool:
        """Whether it has said, after being told to stop, that no request is left."""
        return self._has_said(DRAINED)

    @property
    def ended(self) -> bool:
        """Whether it takes no requests any more, be the process gone or not yet."""
        return self.poll() is not None or self._has_said(ENDED)

    def wait_until_ended(self, timeout_s: float) -> bool:
        """Return True as soon as it takes no requests any more, False after `timeout_s`."""
        end = time.monotonic() + timeout_s
        while not self.ended:
            if time.monotonic() > end:
                return False
            self._wait_for_news(end - time.monotonic())
        return True

    def _wait_for_news(self, timeout_s: float) -> None:
        """Sleep until the process ends, says something, or the time is over."""
        if self._exit is None or self._line.ended:  # a closed line always has news
            self.wait(min(timeout_s, _TICK_S))
        else:
            connection.wait([self._exit, self._line.fileno()], max(0.0, timeout_s))

    def _has_said(self, word: str) -> bool:
        self._listen()
        return word.encode() in self._heard

    def _listen(self) -> None:
        if self._line.fileno() < 0:  # closed
            return
        for line in self._line.lines():
            if line.startswith(b"{"):
                self._reports.append(json.loads(line))
            else:
                self._heard.add(line)

    @property
    def pid(self) -> int:
        """The API server's process, which leads the group."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit code once it has ended (negative: a signal)."""
        return self._process.poll()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for the end; None when it still runs after `timeout_s`."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def seen_alive(self) -> None:
        """Note that it serves now: what it wrote so far explains no death to come."""
        self._served = True
        self._kept.clear()
        if self._log is not None:
            self._log_start = self._log.stat().st_size

    def ending(self) -> str:
        """Say how it ended and why, for people."""
        end = time.monotonic() + _REPORT_S
        while self.poll() is None and not self._reports and time.monotonic() < end:
            self._listen()
            self.wait(_TICK_S)
        self._listen()
        before, now = self._oom_kills, oom_kills()
        killed = before is not None and now is not None and now > before
        return cause(Death(self.poll(), self._written(), self._served, tuple(self._reports), killed))

    def _written(self) -> str:
        if self._log is None:
            return "".join(self._kept)
        size = self._log.stat().st_size
        new = min(size - self._log_start, _MOST_LOG_BYTES)
        return read_tail(self._log, new) if new > 0 else ""

    def stop(self, grace_s: float) -> None:
        """Ask the API server to drain and end; after `grace_s` seconds kill the whole group."""
        if self.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self.wait(grace_s)
        self.sweep()

    def kill(self) -> None:
        """End everything at once."""
        signal_group(self.pid, signal.SIGKILL)
        self._process.wait()
        self.sweep()

    def sweep(self) -> None:
        """End whatever of the group outlived its leader."""
        self.poll()
        if group_alive(self.pid):
            end_group(self.pid, 3.0)
        self._process.wait()
        self._line.close()
        if self._exit is not None:
            os.close(self._exit)
            self._exit = None
