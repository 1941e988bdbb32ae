"""A server for as long as a block of code runs: ready at entry, gone at exit, however the block ends.

with running(argv, output, ready, ready_timeout_s=600) as process: …
with served(target, python_of("serving"), folder) as server: …        our own, by `serving serve`
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantserve.core.errors import QuantserveError
from quantserve.core.files import open_private
from quantserve.core.logs import last_words, read_tail, telling_line

READY_TIMEOUT_S = 600.0
STOP_TIMEOUT_S = 90.0
_POLL_S = 0.1
_SECOND_SIGNAL_S = 10.0


class ProgramFailed(QuantserveError):
    """A program did not become ready.

    Attributes:
        why: its own last words, or the line of its log that tells most; empty where it said nothing.
        exit_code_of_program: None while it ran: it was not ready in time.
    """

    def __init__(self, problem: str, why: str, exit_code: int | None, *, mend: str = "") -> None:
        """`problem` says what did not happen, `why` what the program said of it."""
        super().__init__(f"{problem}: {why}" if why else problem, mend=mend)
        self.why = why
        self.exit_code_of_program = exit_code


@contextlib.contextmanager
def running(
    argv: Sequence[str],
    output: Path,
    ready: Callable[[], bool],
    *,
    env: Mapping[str, str] | None = None,
    ready_timeout_s: float = READY_TIMEOUT_S,
    stop_timeout_s: float = STOP_TIMEOUT_S,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program with its output in a private file; the block begins when `ready` says so.

    It gets a session of its own: Ctrl-C is for us, who end it. The kernel ends it where we die in a way that
    leaves no time to (SIGKILL).

    Raises:
        ProgramFailed: it cannot be started, ended, or was not ready in time.
    """
    helper = shutil.which("setpriv")
    bound = [helper, "--pdeathsig", "TERM", "--", *argv] if helper else list(argv)
    try:
        with open_private(output, "wb") as stream:
            process = subprocess.Popen(
                bound,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(env or {})},
            )
    except OSError as error:
        why = error.strerror or str(error)
        raise ProgramFailed(f"{argv[0]} cannot be started", why, None, mend="Run quantserve setup") from error
    try:
        _wait(process, output, ready, ready_timeout_s)
        yield process
    finally:
        stop(process, stop_timeout_s)


def _wait(
    process: subprocess.Popen[bytes], output: Path, ready: Callable[[], bool], timeout_s: float
) -> None:
    end = time.monotonic() + timeout_s
    while not ready():
        code = process.poll()
        if code is not None:
            problem = f"it ended with {ending(code)} before it was ready"
            raise ProgramFailed(problem, _why(output), code)
        if time.monotonic() > end:
            raise ProgramFailed(f"it was not ready within {timeout_s:.0f} s", _why(output), None)
        time.sleep(_POLL_S)


def _why(output: Path) -> str:
    text = read_tail(output)
    return last_words(text) or telling_line(text)


def ending(code: int) -> str:
    """Name an exit code, or the signal that a negative one stands for."""
    if code >= 0:
        return f"code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def stop(process: subprocess.Popen[bytes], timeout_s: float = STOP_TIMEOUT_S) -> None:
    """End a program and its session: asked, asked again (running requests are not waited for), killed."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_SECOND_SIGNAL_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@dataclass(frozen=True)
class Served:
    """A server of ours that has decoded a token."""

    base_url: str
    """With /v1."""
    model: str
    state: Mapping[str, Any]
    """What `serving serve` wrote into its ready file: url, argv, env, version, dtype, …"""
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def served(
    target: str | Path,
    python: Path,
    folder: Path,
    *,
    words: Sequence[str] = (),
    engine: Sequence[str] = (),
    output: Path | None = None,
    env: Mapping[str, str] | None = None,
    ready_timeout_s: float = READY_TIMEOUT_S,
    stop_timeout_s: float = STOP_TIMEOUT_S,
) -> Iterator[Served]:
    """Serve a target by `serving serve` on a spare loopback port, without keys, exactly as it is deployed.

    Args:
        target: checkpoint or artifact directory.
        python: the serving environment's interpreter.
        folder: where its ready file and, without `output`, its words go; an own one for each server.
        words: further options of `serving serve`, such as ("--profile", "cpu").
        engine: options of vLLM's own.
        output: the file for its words, where they are to be kept.
        env: further environment variables.
        ready_timeout_s, stop_timeout_s: seconds.

    Raises:
        ProgramFailed: it did not become ready.
    """
    ready_file = folder / "ready.json"
    argv = [str(python), "-m", "quantserve.serving", "serve", str(target), "--port", "0", "--private"]
    argv += ["--ready-file", str(ready_file), "--die-with-parent", *words]
    argv += ["--ready-timeout-s", str(ready_timeout_s)]
    argv += ["--", *engine] if engine else []
    with running(
        argv,
        output or folder / "log",
        ready_file.is_file,
        env=env,
        ready_timeout_s=ready_timeout_s + _SECOND_SIGNAL_S,  # its own limit is said better
        stop_timeout_s=stop_timeout_s,
    ) as process:
        state: dict[str, Any] = json.loads(ready_file.read_bytes())
        yield Served(f"{state['url'].rstrip('/')}/v1", state["model"], state, process)
