"""The launcher's beginning and end, over an engine that starts in no time and leaves a stubborn child."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.serving.conftest import wait_for
from tests.integration.serving.launched import Launched


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Launched]:
    started = Launched(tmp_path)
    try:
        started.wait_until_ready()
        yield started
    finally:
        started.close()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_stop_leaves_no_process_and_no_file(launched: Launched, signum: signal.Signals, code: int) -> None:
    family = launched.family()
    assert len(family) == 3  # reaper, engine, the engine's child
    launched.process.send_signal(signum)
    assert launched.process.wait(15) == code
    assert wait_for(lambda: not any(process.is_running() for process in family), 5)
    assert not launched.ready_file.exists()
    assert not launched.state_file.exists()


def test_killed_launcher_leaves_no_process(launched: Launched) -> None:
    family = launched.family()
    launched.process.kill()
    assert wait_for(lambda: not any(process.is_running() for process in family), 10)


def test_engine_that_cannot_start_is_explained_by_its_most_telling_line(tmp_path: Path) -> None:
    launched = Launched(tmp_path, "die")
    code, line = launched.outcome()
    assert code == 1
    assert "ended with code 1 while starting: ValueError: no room for the cache" in line
    assert "Traceback" not in line
    assert not launched.ready_file.exists()


def test_second_signal_does_not_wait_for_running_requests(launched: Launched) -> None:
    stream = launched.stream(words=100_000)
    launched.process.send_signal(signal.SIGTERM)
    assert wait_for(lambda: launched.get("/health").status_code == 503, 10)
    launched.process.send_signal(signal.SIGTERM)
    assert launched.process.wait(10) == 0
    assert not stream.finished()
