"""Large memory goes on huge pages."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import numpy as np

from quantserve.serving import huge_pages


def test_large_arrays_are_asked_for_and_keep_their_values() -> None:
    values = np.arange(4 << 20, dtype=np.float64)  # 32 MiB
    assert huge_pages.use_huge_pages() >= 30 << 20
    assert (values == np.arange(4 << 20)).all()
    rollup = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    found = re.search(r"AnonHugePages: +(\d+) kB", rollup)
    assert found is not None
    kernel = tuple(map(int, re.findall(r"\d+", platform.release())[:2]))
    if kernel >= (6, 1):  # MADV_COLLAPSE
        assert int(found[1]) >= 16 << 10
