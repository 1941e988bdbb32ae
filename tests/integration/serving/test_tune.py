"""Tuning's processes: engines come and go as asked, and a real benchmark run gives the score."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from quantserve.serving.errors import EngineDied
from quantserve.serving.profiles import Profile
from quantserve.serving.tune.engines import Engines
from quantserve.serving.tune.measure import Work, figures, score
from tests.programs import ROOT


def argv(profile: Path, ready: Path, log: Path) -> list[str]:
    return [sys.executable, "-m", "tests.integration.serving.tune_engine", str(profile), str(ready)]


def profile(**fields: Any) -> Profile:
    return Profile.model_validate({"description": "x", "device": "cpu", **fields})


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTSERVE_RAG_PYTHON", sys.executable)
    monkeypatch.chdir(ROOT)


def test_engines_are_kept_make_room_and_all_end(tmp_path: Path) -> None:
    slow, fast = profile(max_sequences=25), profile(max_sequences=50)
    with Engines(argv, capacity=2) as engines:
        first, second = engines.get(slow), engines.get(fast)
        assert engines.get(slow) == first
        engines.keep(slow)
        third = engines.get(profile(max_sequences=100))
        assert not psutil.pid_exists(second.pid)  # asked for longest ago
        assert engines.get(slow) == first
        with pytest.raises(EngineDied, match="no room for the cache"):
            engines.get(profile(chunked_prefill=False))
        point = figures(engines.get(slow), Work(load="closed:2", requests=12, slo="ttft=5s"), seed=3)
        pids = [first.pid, third.pid]
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert (point["requests"], point["failed"]) == (12, 0)
    assert score(point, Work()) == point["output_tps"] > 0
    assert score(point, Work(slo="ttft=5s")) == point["goodput_ps"] > 0
    assert score({**point, "failed": 1}, Work()) == 0.0
