"""Child processes for what needs torch: started with what this machine needs, watched, and ended.

A child's output goes into a log; however it ends becomes one clear line. It never outlives its parent.
"""

from __future__ import annotations

import ctypes
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

Event = dict[str, Any]
_ERRORS: dict[str, type[QuantserveError]] = {
    "InputError": InputError,
    "ResourceError": ResourceError,
    "QuantserveError": QuantserveError,
}
_TCMALLOC = (
    "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4",
    "/usr/lib/aarch64-linux-gnu/libtcmalloc_minimal.so.4",
    "/usr/lib64/libtcmalloc_minimal.so.4",
)
_PR_SET_PDEATHSIG = 1


class ChildFailed(QuantserveError):
    """The child process ended without a result."""


def run_logged(module: str, arguments: list[str], log: Path, what: str) -> None:
    """Run `python -m MODULE ARGUMENTS`, a module of this package, with its output in `log`.

    Raises:
        WorkerFailed: it ended with an error; the message quotes the log's last line.
    """
    with _child(module, arguments, log, stdin=subprocess.DEVNULL, pass_fds=()) as child:
        child.wait()
        _raise_unless_well(child.returncode, log, what)


def run_job(job: dict[str, Any], log: Path, on_event: Callable[[Event], None]) -> Event:
    """Run one job in `python -m quantserve.quantize.methods`; return its result.

    Raises:
        QuantserveError: what the worker reported, or that it died, with the log's last line.
    """
    read_end, write_end = os.pipe()
    result: Event | None = None
    with (
        os.fdopen(read_end, encoding="utf-8") as events,
        # Libraries leave logs where they work: beside ours, never in the user's folder.
        _child(
            "methods", [str(write_end)], log, stdin=subprocess.PIPE, pass_fds=(write_end,), cwd=log.parent
        ) as child,
    ):
        os.close(write_end)
        if child.stdin is None:
            raise ChildFailed("The worker has no standard input")
        try:
            with child.stdin as stream:
                stream.write(json.dumps(job).encode())
        except BrokenPipeError:
            pass  # It died at once; its exit status says why.
        for line in events:
            event: Event = json.loads(line)
            if event["event"] == "error":
                child.wait()
                raise _ERRORS[event["kind"]](event["problem"], mend=event["hint"])
            if event["event"] == "result":
                result = event
            on_event(event)
        child.wait()
        _raise_unless_well(child.returncode, log, "quantizing")
    if result is None:
        raise ChildFailed("The worker ended without a result", mend=f"See {log}")
    return result


@contextmanager
def _child(
    module: str,
    arguments: list[str],
    log: Path,
    *,
    stdin: int,
    pass_fds: tuple[int, ...],
    cwd: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the child; on the way out, whatever happened, it is gone."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream:
        child = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.{module}", *arguments],
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
    raise ChildFailed(f"The process {what} {how}: {last}", mend=f"The whole output is in {log}")


def worker_environment() -> dict[str, str]:
    """Return this process's environment with our settings added; what the user set wins.

    Some virtual machines advertise AMX and then die on it, so oneDNN is kept below it: the cap leaves
    every other instruction set on and changes nothing where AMX is absent. tcmalloc spares the kernel
    the work of taking freed memory back after each layer; where it is absent glibc is told to keep it.
    """
    cpus = str(len(os.sched_getaffinity(0)))
    ours = {
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_FP16",
        "GPTQMODEL_CPU_WORKERS": cpus,
        "OMP_NUM_THREADS": cpus,
        # Threads that wait by spinning take the processor from each other where others work too.
        "OMP_WAIT_POLICY": "PASSIVE",
        "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
        "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
        "MALLOC_TOP_PAD_": str(64 << 20),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
    }
    found = next((path for path in _TCMALLOC if Path(path).exists()), None)
    if found:
        ours["LD_PRELOAD"] = found
    return {**ours, **os.environ}


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends, however it ends (Linux prctl)."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    expected = os.environ.get("QUANTSERVE_PARENT_PID")
    if expected is not None and os.getppid() != int(expected):
        sys.exit("The parent process ended before this one began")
