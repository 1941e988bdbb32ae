"""Our executor leaves the command line where nothing is forked; large memory goes on huge pages."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from serving import forking, huge_pages

FLAG = "--distributed-executor-backend"


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["x", FLAG, forking.ONE_PROCESS, "--port", "1"], ["x", "--port", "1"]),
        (["x", f"{FLAG}={forking.ONE_PROCESS}", "--port", "1"], ["x", "--port", "1"]),
        (["x", FLAG, "mp"], ["x", FLAG, "mp"]),
        (["x"], ["x"]),
    ],
)
def test_our_executor_is_dropped_with_its_flag(
    monkeypatch: pytest.MonkeyPatch, words: list[str], left: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", list(words))
    forking.drop_one_process()
    assert sys.argv == left


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
