"""The parent's side: start a child, read its progress, and turn however it ends into one clear line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quantserve.core.errors import InputError, QuantserveError, ResourceError
from quantserve.quantize.worker.environment import worker_environment

Event = dict[str, Any]
_ERRORS: dict[str, type[QuantserveError]] = {
    "InputError": InputError,
    "ResourceError": ResourceError,
    "QuantserveError": QuantserveError,
}


class WorkerFailed(QuantserveError):
    """The child process ended without a result."""


def run_logged(arguments: list[str], log: Path, what: str) -> None:
    """Run `python ARGUMENTS` with its output in `log`.

    Raises:
        WorkerFailed: it ended with an error; the message quotes the log's last line.
    """
    with _child(arguments, log, stdin=subprocess.DEVNULL, pass_fds=()) as child:
        child.wait()
        _raise_unless_well(child.returncode, log, what)


def run_job(job: dict[str, Any], log: Path, on_event: Callable[[Event], None]) -> tuple[Event, int]:
    """Run one job in `python -m quantserve.quantize.worker`; return its result and its peak memory in bytes.

    Raises:
        QuantserveError: what the worker reported, or that it died, with the log's last line.
    """
    read_end, write_end = os.pipe()
    result: Event | None = None
    arguments = ["-m", "quantserve.quantize.worker", str(write_end)]
    with (
        os.fdopen(read_end, encoding="utf-8") as events,
        # Libraries leave logs where they work: beside ours, never in the user's folder.
        _child(arguments, log, stdin=subprocess.PIPE, pass_fds=(write_end,), cwd=log.parent) as child,
    ):
        os.close(write_end)
        if child.stdin is None:
            raise WorkerFailed("The worker has no standard input")
        try:
            with child.stdin as stream:
                stream.write(json.dumps(job).encode())
        except BrokenPipeError:
            pass  # It died at once; its exit status says why.
        for line in events:
            event: Event = json.loads(line)
            if event["event"] == "error":
                child.wait()
                raise _ERRORS[event["kind"]](event["problem"], mend=event["mend"])
            if event["event"] == "result":
                result = event
            on_event(event)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        _raise_unless_well(child.returncode, log, "quantizing")
    if result is None:
        raise WorkerFailed("The worker ended without a result", mend=f"See {log}")
    return result, usage.ru_maxrss * 1024


@contextmanager
def _child(
    arguments: list[str], log: Path, *, stdin: int, pass_fds: tuple[int, ...], cwd: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the child; on the way out, whatever happened, it is gone."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream:
        child = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=stdin,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**worker_environment(), "QUANTSERVE_PARENT_PID": str(os.getpid())},
            pass_fds=pass_fds,
            cwd=cwd,
        )
        try:
            yield child
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()


def _raise_unless_well(returncode: int, log: Path, what: str) -> None:
    if returncode == 0:
        return
    if returncode == -signal.SIGKILL:
        raise ResourceError(
            f"The process {what} was killed, most likely for want of memory",
            mend="Free memory, or use fewer or shorter calibration sequences",
        )
    how = f"died by {signal.Signals(-returncode).name}" if returncode < 0 else f"failed (exit {returncode})"
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    last = lines[-1][-300:].strip() if lines else "it printed nothing"
    raise WorkerFailed(f"The process {what} {how}: {last}", mend=f"The whole output is in {log}")
