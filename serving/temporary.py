"""A server for as long as a block of code runs: started for a target, ready at entry, gone at exit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from quantserve.core.files import open_private
from quantserve.core.logs import last_words, read_tail, telling_line
from quantserve.serving.config import LauncherOptions, RunDirectory
from quantserve.serving.errors import EngineDied, EngineNotReady

_ROOT = Path(__file__).resolve().parents[1]
_POLL_S = 0.1
_STOP_S = 90.0
_RUN = RunDirectory()
_LAUNCHER = LauncherOptions()


@dataclass(frozen=True)
class Address:
    """Where a server is and what it serves."""

    base_url: str
    """With /v1."""
    model: str


@contextmanager
def temporary_server(
    target: Path,
    *,
    profile: str | None = None,
    vllm_args: tuple[str, ...] = (),
    run: Path = _RUN.path,
    ready_timeout_s: float = _LAUNCHER.ready_timeout_s,
) -> Iterator[Address]:
    """Serve `target` on a spare loopback port, without keys and audit log; it dies with this process.

    Raises:
        EngineDied: it ended before it was ready; the message is its most telling line.
        EngineNotReady: no token came in time.
    """
    with tempfile.TemporaryDirectory(prefix="quantserve-") as folder:
        ready, log = Path(folder) / "ready.json", Path(folder) / "log"
        words = [
            sys.executable,
            "-m",
            "quantserve.serving",
            "serve",
            str(target.resolve()),
            "--port",
            "0",
            "--private",
        ]
        words += ["--ready-file", str(ready), "--die-with-parent", "--run-dir", str(run.resolve())]
        words += ["--ready-timeout-s", str(ready_timeout_s)]
        words += ["--profile", profile] if profile is not None else []
        words += ["--", *vllm_args] if vllm_args else []
        with open_private(log, "wb") as output:
            process = subprocess.Popen(
                words,
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield _wait_ready(process, ready, log, ready_timeout_s)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_ready(process: subprocess.Popen[bytes], ready: Path, log: Path, timeout_s: float) -> Address:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if ready.is_file():
            state = json.loads(ready.read_text(encoding="utf-8"))
            return Address(state["base_url"], state["model"])
        if process.poll() is not None:
            text = read_tail(log)
            raise EngineDied(last_words(text) or telling_line(text))
        time.sleep(_POLL_S)
    raise EngineNotReady(f"no token came within {timeout_s:.0f} s", mend=telling_line(read_tail(log)))
