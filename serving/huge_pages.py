"""Put a process's large anonymous memory on huge pages: each step of a decoding model reads all its weights.

Linux gives them by itself only where transparent huge pages are `always`; elsewhere memory of 4 KiB pages
can be collapsed afterwards (madvise(2), MADV_COLLAPSE, Linux 6.1).
"""

from __future__ import annotations

import ctypes
import mmap
import re
from pathlib import Path

_HUGE_BYTES = 2 << 20
_COLLAPSE = 25  # MADV_COLLAPSE of <linux/mman.h>; Python 3.11 has no name for it
_REGION = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw-p 0+ 00:00 0 *(?:\[heap\])?$", re.MULTILINE)


def use_huge_pages() -> int:
    """Ask for huge pages in every private anonymous region of 2 MiB or more; return the bytes asked for.

    What cannot be had (an old kernel, no free huge page) is left as it is: this is for speed alone.
    """
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    asked = 0
    for start, end in _REGION.findall(Path("/proc/self/maps").read_text(encoding="ascii", errors="replace")):
        first = -(-int(start, 16) // _HUGE_BYTES) * _HUGE_BYTES
        last = int(end, 16) // _HUGE_BYTES * _HUGE_BYTES
        if last <= first:
            continue
        libc.madvise(first, last - first, mmap.MADV_HUGEPAGE)
        libc.madvise(first, last - first, _COLLAPSE)
        asked += last - first
    return asked
