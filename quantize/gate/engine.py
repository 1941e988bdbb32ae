"""One engine for the length of a measurement, started exactly as it would be deployed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from quantserve.quantize.config import PROJECT
from quantserve.quantize.gate.config import GateConfig
from quantserve.quantize.gate.errors import EngineFailed, GateError
from quantserve.quantize.models.served import refusal_in

_POLL_S = 0.1
# Wide lines, so that no complaint is broken in two; INFO, since the kernel is named at that level.
_ENVIRONMENT = {"COLUMNS": "400", "PYTHONPATH": str(PROJECT), "VLLM_LOGGING_LEVEL": "INFO"}


@dataclass(frozen=True)
class Engine:
    """A running server that has decoded a token."""

    url: str
    model: str
    ready: dict[str, Any]
    """What `serving serve` wrote into its ready file."""
    log: Path
    """The engine's own log."""
    process: subprocess.Popen[bytes]

    @property
    def dtype(self) -> str | None:
        """The type the engine computes in."""
        if "dtype" in self.ready:
            return str(self.ready["dtype"])
        argv = [str(part) for part in self.ready.get("argv", [])]
        return argv[argv.index("--dtype") + 1] if "--dtype" in argv[:-1] else None

    def log_text(self) -> str:
        """Return the engine's log so far."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.is_file() else ""

    def memory_bytes(self) -> int | None:
        """Return the memory of the whole process tree, shared pages counted once (PSS), or None."""
        total = 0
        try:
            root = psutil.Process(self.process.pid)
            for process in (root, *root.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return None
        return total


def serving_command(
    config: GateConfig, target: Path, ready_file: Path, log: Path, options: Sequence[str] = ()
) -> list[str]:
    """Return the command that serves `target` on a spare port until it is told to stop.

    `options` are the engine's own, such as ("--dtype", "float32"); they go before what would be chosen.
    """
    return [
        str(config.serving_python.absolute()),
        *("-m", "quantserve.serving", "serve", str(target)),
        *("--port", "0", "--ready-file", str(ready_file), "--log", str(log), "--die-with-parent"),
        "--private",
        *("--run-dir", str(config.run_dir)),
        *(("--", *options) if options else ()),
    ]


@contextlib.contextmanager
def running(config: GateConfig, target: Path, role: str, options: Sequence[str] = ()) -> Iterator[Engine]:
    """Serve `target` for the length of the block; `role` names its logs in `run/gate/`.

    However the block ends, the server is gone afterwards; should this process be killed, the server
    notices by itself (--die-with-parent).

    Raises:
        GateError: there is no serving environment.
        EngineFailed: the server did not become ready; the message is its log's telling line.
    """
    if not config.serving_python.exists():
        raise GateError(
            f"there is no serving environment at {config.serving_python}",
            mend="Run make setup, or set QUANTSERVE_SERVING_PYTHON",
        )
    logs = config.run_dir / "gate"
    logs.mkdir(parents=True, exist_ok=True)
    said, log = logs / f"{role}.out", (logs / f"{role}.log").absolute()
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="quantserve-gate-") as folder, said.open("wb") as output:
        ready_file = Path(folder) / "ready.json"
        process = subprocess.Popen(
            serving_command(config, target, ready_file, log, options),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **_ENVIRONMENT},
        )
        try:
            ready = _await_ready(config, process, ready_file, said)
            yield Engine(str(ready["url"]), str(ready["model"]), ready, log, process)
        finally:
            _stop(process, config.stop_timeout_s)


def _await_ready(
    config: GateConfig, process: subprocess.Popen[bytes], ready_file: Path, said: Path
) -> dict[str, Any]:
    deadline = time.monotonic() + config.ready_timeout_s
    while not ready_file.is_file():
        code = process.poll()
        if code is not None:
            raise EngineFailed(_complaint(said) or f"the server ended with exit code {code} and no word")
        if time.monotonic() > deadline:
            raise EngineFailed(f"the server was not ready within {config.ready_timeout_s:.0f} s")
        time.sleep(_POLL_S)
    ready: dict[str, Any] = json.loads(ready_file.read_bytes())
    return ready


def _complaint(said: Path) -> str:
    """Return what `serving` said last: its one-line error already holds the log's telling line."""
    text = said.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (refusal_in(text) or (lines[-1] if lines else ""))[:600]


def _stop(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)  # the second one does not wait for running requests
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
