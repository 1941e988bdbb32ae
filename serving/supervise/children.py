"""What the engine's process tells of its own end and its children's, so that no log need be guessed from.

vLLM notices that its engine core is gone, not how: a core that the kernel killed leaves no line. Both are
reports over the line to the launcher:

    {"died": "EngineCore_DP0", "code": -9}     a child ended with an error or by a signal
    {"raised": "ValueError: no room"}          an exception that nobody caught ends the API server
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import cast

from quantserve.serving.guard.launcher_line import LINE_VARIABLE

Report = Callable[[dict[str, object]], None]
_WRITTEN_S = 1.0
_MOST_CHARS = 2000


def reporter() -> Report:
    """Return how to reach the launcher; without one, reports go nowhere."""
    number = os.environ.get(LINE_VARIABLE)
    if number is None:
        return lambda report: None
    ours = socket.socket(fileno=os.dup(int(number)))  # the guard has the descriptor itself
    ours.setblocking(False)

    def report(what: dict[str, object]) -> None:
        with suppress(OSError):  # a launcher that is gone needs no report
            ours.send(json.dumps(what).encode() + b"\n")

    return report


def watch_children(report: Report) -> None:
    """Report each child started from now on that ends badly, from a thread that ends with the process.

    A child is known from its start. multiprocessing's own list forgets one that has ended as soon as anybody
    looks at it, which a child that ends at once is not there for.
    """
    news, tell = multiprocessing.Pipe(duplex=False)
    started: SimpleQueue[BaseProcess] = SimpleQueue()
    start, ours = BaseProcess.start, os.getpid()

    def watched(child: BaseProcess) -> None:
        start(child)
        if os.getpid() == ours:  # no forked child's children
            started.put(child)
            tell.send_bytes(b"+")

    setattr(BaseProcess, "start", watched)  # noqa: B010  no type has a place for it
    threading.Thread(target=_watch, args=(report, news, started), daemon=True).start()


def _watch(report: Report, news: Connection, started: SimpleQueue[BaseProcess]) -> None:
    known: dict[int, BaseProcess] = {}
    while True:
        for ready in connection.wait([news, *known]):
            if ready is news:
                news.recv_bytes()
                child = started.get()
                known[child.sentinel] = child
                continue
            child = known.pop(cast(int, ready))
            code = _code_of(child)
            if code != 0:
                report({"died": child.name, "code": code})


def _code_of(child: BaseProcess) -> int | None:
    """Return how a child ended; another thread may have waited for it and be about to write it down."""
    child.join()
    end = time.monotonic() + _WRITTEN_S
    while child.exitcode is None and time.monotonic() < end:
        time.sleep(_WRITTEN_S / 100)
    return child.exitcode


@contextmanager
def reporting_uncaught(report: Report) -> Iterator[None]:
    """Report an exception that ends the block, and let it go on."""
    try:
        yield
    except Exception as error:
        words = " ".join(str(error).split())
        kind = type(error)
        name = (
            kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        )
        report({"raised": f"{name}: {words}"[:_MOST_CHARS]})
        raise
