"""Run a function in a forked child, so that whatever kills it is only an answer."""

from __future__ import annotations

import faulthandler
import json
import os
import select
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What the child returned, or how it failed: a signal's name, "timeout" or an exception."""

    value: Any = None
    failure: str | None = None


def in_child(function: Callable[[], Any], timeout_s: float = 20.0) -> Outcome:
    """Call `function` in a forked child and return its JSON-serialisable result or its failure.

    Call it only while this process has a single thread: forking a threaded process may deadlock.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _run_and_exit(function, writer)
    os.close(writer)
    try:
        return _collect(child, reader, timeout_s)
    finally:
        os.close(reader)


def _run_and_exit(function: Callable[[], Any], writer: int) -> None:
    """Never returns: the child must not run its parent's clean-up."""
    faulthandler.disable()  # a child that dies is no news
    code = 1
    try:
        os.write(writer, json.dumps({"value": function()}).encode())
        code = 0
    except (RuntimeError, OSError, ValueError, TypeError, MemoryError, ImportError) as error:
        text = str(error).splitlines()
        os.write(
            writer, json.dumps({"failure": f"{type(error).__name__}: {text[0] if text else ''}"}).encode()
        )
    finally:
        sys.stderr.flush()
        os._exit(code)


def _collect(child: int, reader: int, timeout_s: float) -> Outcome:
    ready, _, _ = select.select([reader], [], [], timeout_s)
    if not ready:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return Outcome(failure="timeout")
    answer = b""
    while chunk := os.read(reader, 65536):
        answer += chunk
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return Outcome(failure=signal.Signals(os.WTERMSIG(status)).name)
    if not answer:
        return Outcome(failure=f"exit code {os.waitstatus_to_exitcode(status)}")
    return Outcome(**json.loads(answer))
