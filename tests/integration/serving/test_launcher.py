"""The launcher's promises, over an engine that starts in no time and leaves a stubborn child."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.serving.conftest import ROOT, wait_for


def launch(directory: Path, mode: str = "live") -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "tests.integration.serving.run_launcher", str(directory), mode]
    return subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = launch(tmp_path)
    assert wait_for((tmp_path / "ready.json").is_file, 20)
    yield process
    process.kill()
    process.communicate()


def family_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def all_gone(family: list[psutil.Process]) -> bool:
    return not any(process.is_running() for process in family)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_stop_leaves_no_process_and_no_file(
    launcher: subprocess.Popen[str], tmp_path: Path, signum: signal.Signals, code: int
) -> None:
    family = family_of(launcher)
    assert len(family) == 3  # reaper, engine, the engine's child
    launcher.send_signal(signum)
    assert launcher.wait(15) == code
    assert wait_for(lambda: all_gone(family), 5)
    assert not (tmp_path / "ready.json").exists()
    assert not (tmp_path / "state.json").exists()


def test_killed_launcher_leaves_no_process(launcher: subprocess.Popen[str]) -> None:
    family = family_of(launcher)
    launcher.kill()
    assert wait_for(lambda: all_gone(family), 10)


def test_engine_that_dies_ends_the_launcher_and_its_own_child(
    launcher: subprocess.Popen[str], tmp_path: Path
) -> None:
    family = family_of(launcher)
    psutil.Process(json.loads((tmp_path / "ready.json").read_text())["engine_pid"]).kill()
    _, errors = launcher.communicate(timeout=15)
    assert launcher.returncode == 1
    assert "the engine died by SIGKILL" in " ".join(errors.split())
    assert wait_for(lambda: all_gone(family), 5)


def test_engine_that_cannot_start_is_explained_by_its_most_telling_line(tmp_path: Path) -> None:
    process = launch(tmp_path, "die")
    _, errors = process.communicate(timeout=20)
    line = " ".join(errors.split())
    assert process.returncode == 1
    assert "ended with code 1 while starting: ValueError: no room for the cache" in line
    assert "Traceback" not in line
    assert not (tmp_path / "ready.json").exists()
