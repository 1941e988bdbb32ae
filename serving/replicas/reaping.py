"""The process that ends the replicas should the supervisor be killed: serving.reaper, by a pipe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


class Reaper:
    """Knows the process groups of the replicas' launchers; each launcher answers for its own engine."""

    def __init__(self, grace_s: float) -> None:
        """Groups get `grace_s` seconds from SIGTERM to SIGKILL."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "serving.reaper", str(grace_s)],
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def watch(self, group: int) -> None:
        """Put a group on the list."""
        self._say(group)

    def forget(self, group: int) -> None:
        """Take it off, since its number may be another's soon."""
        self._say(-group)

    def close(self) -> None:
        """End the reaper and what is still on its list."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()

    def _say(self, number: int) -> None:
        if self._process.stdin is not None and self._process.poll() is None:
            self._process.stdin.write(f"{number}\n")
            self._process.stdin.flush()
