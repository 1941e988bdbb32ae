"""A child that never outlives the program that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends, however it ends (Linux prctl)."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    expected = os.environ.get("QUANTSERVE_PARENT_PID")
    if expected is not None and os.getppid() != int(expected):
        sys.exit("The parent process ended before this one began")
