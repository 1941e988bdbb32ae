"""A tiny checkpoint, and the serving command line as users run it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from quantserve.core.files import one_at_a_time
from tests.conftest import SHARED
from tests.programs import PYTHON, ROOT

READY_TIMEOUT_S = 240.0

Serving = Callable[..., subprocess.CompletedProcess[str]]


def made_once(name: str, script: str, *arguments: Path) -> Path:
    """Return the folder that `script` writes, made by the first worker that asks for it."""
    directory = Path(os.environ[SHARED]) / name
    with one_at_a_time(directory.with_suffix(".lock")):
        if not directory.exists():
            part = directory.with_suffix(".part")
            words = [PYTHON, *map(str, (Path(__file__).with_name(script), part, *arguments))]
            subprocess.run(words, check=True, capture_output=True, timeout=180)
            part.rename(directory)
    return directory


@pytest.fixture(scope="session")
def tiny_model() -> Path:
    return made_once("tiny", "make_tiny_model.py")


@pytest.fixture(scope="session")
def task_models(tiny_model: Path) -> Path:
    """Tiny checkpoints for the other tasks, and adapters of the tiny model."""
    return made_once("tasks", "make_task_models.py", tiny_model)


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run directory for the whole session, so that the machine is probed once."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="session")
def serving() -> Serving:
    def call(*words: str | Path, stdin: str = "", timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PYTHON, "-m", "quantserve.serving", *map(str, words)],
            cwd=ROOT,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    return call


def wait_for(condition: Callable[[], bool], timeout_s: float) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return condition()


class Server:
    """`serving serve` as a child of the test."""

    def __init__(self, target: Path, run_dir: Path, ready_file: Path, *more: str) -> None:
        self.ready_file = ready_file
        words = ["serve", str(target), "--port", "0", "--ready-file", str(ready_file)]
        words += [
            "--run-dir",
            str(run_dir),
            "--log",
            str(ready_file.with_suffix(".log")),
            "--die-with-parent",
            *more,
        ]
        self.process = subprocess.Popen(
            [PYTHON, "-m", "quantserve.serving", *words], cwd=ROOT, stderr=subprocess.PIPE
        )
        ready = wait_for(lambda: ready_file.is_file() or self.process.poll() is not None, READY_TIMEOUT_S)
        if not ready or not ready_file.is_file():
            self.process.kill()
            assert self.process.stderr is not None
            raise AssertionError(self.process.stderr.read().decode())
        self.ready: dict[str, Any] = json.loads(ready_file.read_text(encoding="utf-8"))

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        if self.process.stderr is not None:
            self.process.stderr.close()


@contextmanager
def started_together(folder: Path, run_dir: Path, *targets: Path) -> Iterator[dict[str, Server]]:
    """Start servers at the same time, since most of a start keeps one core busy; by the target's name."""

    def start(target: Path) -> Server:
        return Server(target, run_dir, folder / f"{target.name}.json")

    servers: list[Server] = []
    with ThreadPoolExecutor(len(targets)) as pool:
        try:
            for future in [pool.submit(start, target) for target in targets]:
                servers.append(future.result())
            yield {target.name: server for target, server in zip(targets, servers, strict=True)}
        finally:
            list(pool.map(Server.end, servers))


@pytest.fixture(scope="module")
def server(tiny_model: Path, run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One engine for a whole module: each start takes most of a minute."""
    started = Server(tiny_model, run_dir, tmp_path_factory.mktemp("serve") / "ready.json")
    yield started
    started.end()
