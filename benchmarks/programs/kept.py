"""Servers that stay up over all turns of a comparison."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from quantserve.benchmarks.programs.subjects import Subject
from quantserve.benchmarks.servers import Server


def kept(subject: Subject, alive: contextlib.ExitStack) -> Subject:
    """The same subject, started once and running until `alive` ends, so that turns are seconds apart.

    Every kept server holds its memory all the while; one that idles must not use the processor.
    """
    running: list[Server] = []

    @contextlib.contextmanager
    def start() -> Iterator[Server]:
        if not running:
            running.append(alive.enter_context(subject.start()))
        yield running[0]

    return dataclasses.replace(subject, start=start)
