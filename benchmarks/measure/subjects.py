"""Alternate servers in one session, so that a machine that grows slower or busier hits all of them alike."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

from quantserve.benchmarks.errors import ServerUnusable
from quantserve.benchmarks.load.arrivals import Load
from quantserve.benchmarks.load.workload import Workload
from quantserve.benchmarks.measure.bench import Bench
from quantserve.benchmarks.servers import Server


@dataclasses.dataclass(frozen=True)
class Subject:
    """One server to compare, and how to have it."""

    name: str
    start: Callable[[], AbstractContextManager[Server]]
    instead_of: str | None = None
    """Measured only when the subject of this name has failed."""


def alternate(
    bench: Bench,
    subjects: Sequence[Subject],
    workloads: Sequence[Workload],
    loads: Sequence[tuple[Load, int]],
) -> None:
    """Measure all subjects once per repeat, each repeat beginning with the next subject.

    A subject that does not start, or stops answering, is noted with its own words; the others go on.
    """
    gone: set[str] = set()
    for repeat in range(bench.options.repeats):
        turn = repeat % len(subjects)
        for subject in [*subjects[turn:], *subjects[:turn]]:
            if subject.name in gone or (subject.instead_of and subject.instead_of not in gone):
                continue
            try:
                with subject.start() as server:
                    for workload in workloads:
                        why = bench.loads(server, subject.name, workload, loads, repeat=repeat)
                        if why:
                            raise ServerUnusable(why)
            except ServerUnusable as error:
                bench.note_failed(subject.name, str(error))
                gone.add(subject.name)


@contextlib.contextmanager
def staying_up(subjects: Sequence[Subject]) -> Iterator[list[Subject]]:
    """Return the same subjects, each started once and running until the block ends.

    So turns are seconds apart. Every server holds its memory all the while; one that idles must not use the
    processor.
    """
    with contextlib.ExitStack() as alive:
        yield [dataclasses.replace(one, start=_started_once(one, alive)) for one in subjects]


def _started_once(
    subject: Subject, alive: contextlib.ExitStack
) -> Callable[[], AbstractContextManager[Server]]:
    running: list[Server] = []

    @contextlib.contextmanager
    def start() -> Iterator[Server]:
        if not running:
            running.append(alive.enter_context(subject.start()))
        yield running[0]

    return start
