"""Alternate servers in one session, so that a machine that grows slower or busier hits all of them alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from quantserve.benchmarks.errors import ServerUnusable
from quantserve.benchmarks.load.spec import Load
from quantserve.benchmarks.measure import Bench, CellOptions
from quantserve.benchmarks.programs.common import RunOptions, measure_loads, note_failed
from quantserve.benchmarks.servers import Server
from quantserve.benchmarks.workload.spec import Workload


@dataclasses.dataclass(frozen=True)
class Subject:
    """One server to compare, and how to have it."""

    name: str
    start: Callable[[], AbstractContextManager[Server]]
    cell: CellOptions | None = None
    """Request options that differ for this subject, such as a server without `ignore_eos`."""
    instead_of: str | None = None
    """Measured only when the subject of this name has failed."""


def alternate(
    bench: Bench,
    subjects: Sequence[Subject],
    workloads: Sequence[Workload],
    loads: Sequence[tuple[Load, int]],
    options: RunOptions,
    on_ready: Callable[[str, Server], Any] = lambda _name, _server: None,
) -> None:
    """Measure all subjects once per repeat, each repeat beginning with the next subject.

    A subject that does not start, or stops answering, is noted with its own words; the others go on.
    """
    gone: set[str] = set()
    for repeat in range(options.repeats):
        turn = repeat % len(subjects)
        for subject in [*subjects[turn:], *subjects[:turn]]:
            if subject.name in gone or (subject.instead_of and subject.instead_of not in gone):
                continue
            try:
                with subject.start() as server:
                    on_ready(subject.name, server)
                    for workload in workloads:
                        why = measure_loads(
                            bench,
                            server,
                            subject.name,
                            workload,
                            loads,
                            options,
                            repeat=repeat,
                            warmup=4,
                            base=subject.cell,
                        )
                        if why:
                            raise ServerUnusable(why)
            except ServerUnusable as error:
                note_failed(bench.run, subject.name, str(error))
                gone.add(subject.name)
