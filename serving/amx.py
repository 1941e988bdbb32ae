"""Ask the kernel for the AMX tile registers.

Linux grants them per process and on request only (Documentation/arch/x86/xstate.rst); the first tile
instruction without the grant dies by SIGILL. oneDNN asks by itself, vLLM's own AMX kernels do not, so a
model whose first layer is small dies in the worker. The grant passes on by fork and ends with exec.
"""

from __future__ import annotations

import ctypes
import platform

_ARCH_PRCTL = 158
_ARCH_REQ_XCOMP_PERM = 0x1023
_XFEATURE_XTILEDATA = 18


def request_tiles() -> bool:
    """Ask for the tile registers; False where there are none to be had."""
    if platform.machine() != "x86_64":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA)) == 0
