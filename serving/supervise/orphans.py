"""The near side of serving.reaper, the process that ends what we started if we are killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


class Reaper:
    """Told of every process group that is started: an engine's, or a replica's launcher's."""

    def __init__(self, grace_s: float) -> None:
        """Start it; `grace_s` is what a group gets between SIGTERM and SIGKILL."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "quantserve.serving.reaper", str(grace_s)],
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def _say(self, number: int) -> None:
        if self._process.stdin is not None and self._process.poll() is None:
            self._process.stdin.write(f"{number}\n")
            self._process.stdin.flush()

    def watch(self, group: int) -> None:
        """End this group when we are gone."""
        self._say(group)

    def forget(self, group: int) -> None:
        """The group has ended; its number may come to mean another."""
        self._say(-group)

    def close(self) -> None:
        """End it, and what is still on its list."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
