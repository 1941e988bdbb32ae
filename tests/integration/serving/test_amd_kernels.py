"""AMD's operators, where the machine has them: a call leaves nothing behind, eager or compiled."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantserve.core.machine import cpuinfo
from tests.programs import told_by

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("compiled", ["0", "1"])
def test_a_call_leaves_nothing_behind(compiled: str) -> None:
    """In zentorch 2.13 each call left 144 bytes: ten MiB a minute of an engine that decodes."""
    found = told_by(Path(__file__).with_name("call_operators.py"), compiled, OMP_NUM_THREADS="1")
    if found["library"] is None:
        assert cpuinfo().get("vendor_id") != "AuthenticAMD" or "avx512f" not in cpuinfo()["flags"]
    else:
        assert abs(found["bytes_a_call"]) < 1
