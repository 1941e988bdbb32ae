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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection

from serving.supervise.line import LINE_VARIABLE

Report = Callable[[dict[str, object]], None]
_LOOK_S = 0.5
"""Between two looks for children that were started meanwhile."""
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
    """Report each child that ends badly, from a thread that ends with the process."""
    threading.Thread(target=_watch, args=(report,), daemon=True).start()


def _watch(report: Report) -> None:
    told: set[int | None] = set()
    while True:
        children = {
            child.sentinel: child for child in multiprocessing.active_children() if child.pid not in told
        }
        for sentinel in connection.wait(list(children), _LOOK_S):
            child = next(child for known, child in children.items() if known == sentinel)
            child.join()
            told.add(child.pid)
            if child.exitcode != 0:
                report({"died": child.name, "code": child.exitcode})


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
