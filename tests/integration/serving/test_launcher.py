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


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("signal 9", "the engine was killed by SIGKILL (out of memory?)"),
        ("signal 11", "the engine was killed by SIGSEGV (a fault in native code)"),
        (
            "core 9",
            "the engine has lost its process EngineCore_DP0, which was killed by SIGKILL (out of",
        ),
        ("core 4", "the engine has lost its process EngineCore_DP0, which was killed by SIGILL"),
        ("raise", "the engine takes no requests any more: ValueError: no such block"),
        ("leave 3", "the engine ended with code 3: its log does not say why"),
        ("leave 0", "the engine ended with code 0"),
        ("hang", "the engine hangs: 2 probes brought no token"),
    ],
)
def test_a_death_is_told_as_it_was_and_no_client_is_blamed(tmp_path: Path, prompt: str, words: str) -> None:
    launched = Launched(tmp_path, "core" if prompt.startswith("core") else "live")
    try:
        launched.wait_until_ready()
        launched.ask("noise")
        assert "JSONDecodeError" in (tmp_path / "engine.log").read_text(encoding="utf-8")
        launched.stream_in_background(prompt)
        assert wait_for(lambda: launched.state["last_failure"] is not None, 20)
        # a busy machine may see the process gone before its silence
        told = launched.state["last_failure"].replace("ended with code 1", "takes no requests any more")
        assert told.startswith(words)
        assert "client" not in launched.state["last_failure"]
    finally:
        launched.close()
