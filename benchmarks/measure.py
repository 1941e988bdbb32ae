"""Measure cells into a run: make the prompts, drive the load, sample meanwhile, keep everything raw."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterator
from time import perf_counter
from typing import Any

from rich.progress import Progress, TaskID

from quantserve.benchmarks.cells import Cell
from quantserve.benchmarks.client import fleet
from quantserve.benchmarks.load.spec import Load
from quantserve.benchmarks.observe.sampler import Sample, Sampler
from quantserve.benchmarks.plan import Shard, Target, Task
from quantserve.benchmarks.servers import Server
from quantserve.benchmarks.store import Measured, Run
from quantserve.benchmarks.workload.spec import Workload
from quantserve.benchmarks.workload.tokens import Tokenizer
from quantserve.core.console import progress as new_progress


@dataclasses.dataclass(frozen=True)
class CellOptions:
    """How one cell is measured."""

    requests: int
    """Upper bound on tasks; in a closed loop with `duration_s` make it generous."""
    duration_s: float | None = None
    seed: int = 0
    warmup: int = 0
    """Requests sent first, kept as `warmup`, never counted."""
    processes: int | None = None
    """Load processes; None: as many as the load needs."""
    timeout_s: float = 600.0
    ramp_s: float = 0.0
    repeatable: bool = False
    """The seed was given by somebody, who may have asked the server the same before."""
    chunk_usage: bool = False
    extra_body: dict[str, Any] = dataclasses.field(default_factory=dict)
    ignore_eos: bool = True


class Bench:
    """Measures cells one after the other; use as a context manager, it shows the progress bars."""

    def __init__(self, run: Run, sample_period_s: float = 1.0) -> None:
        """All of the run's times count from now."""
        self.run = run
        self.epoch_s = perf_counter()
        run.put_extra({"epoch_perf_counter_s": self.epoch_s})
        self._period_s = sample_period_s
        self._progress: Progress | None = None
        self._cells = 0

    @contextlib.contextmanager
    def showing(self) -> Iterator[Bench]:
        """Show progress inside the block."""
        with new_progress() as bars:
            self._progress = bars
            yield self
        self._progress = None

    def cell(
        self,
        server: Server,
        subject: str,
        workload: Workload,
        load: Load,
        repeat: int,
        options: CellOptions,
    ) -> Measured:
        """Measure one cell and store it.

        Raises:
            ServerUnusable: the server stopped answering before the load began.
            WorkerFailed: a load process died.
        """
        self._cells += 1
        tokenizer = Tokenizer(server.base_url, server.model, server.api_key)
        warm = workload.tasks(options.warmup, options.seed + 777_777, tokenizer.count)
        tasks = workload.tasks(options.requests, options.seed, tokenizer.count)
        times = load.arrivals(len(tasks), options.seed)
        if times is not None:
            tasks = [dataclasses.replace(t, at_s=at) for t, at in zip(tasks, times, strict=False)]
        target = Target(
            base_url=server.base_url,
            model=server.model,
            api_key=server.api_key,
            chat=workload.chat,
            ignore_eos=workload.exact and options.ignore_eos,
            chunk_usage=options.chunk_usage,
            extra_body=options.extra_body,
            timeout_s=options.timeout_s,
        )
        name = f"c{self._cells:03d}"
        shard = Shard(
            cell=name,
            target=target,
            tasks=tasks,
            users=load.users,
            epoch_s=self.epoch_s,
            duration_s=options.duration_s,
            ramp_s=options.ramp_s,
        )
        label = f"{subject} · {load.text} · {workload.text}" + (f" · repeat {repeat + 1}" if repeat else "")
        processes = options.processes or fleet.processes_for(load.users, load.rate_per_s)
        with self._bar(label, len(tasks)) as bar:
            measured = asyncio.run(self._drive(server, shard, warm, processes, bar))
        result, samples = measured
        cell = Cell(
            id=name,
            subject=subject,
            workload=workload.text,
            load=load.text,
            repeat=repeat,
            users=load.users,
            rate_per_s=load.rate_per_s,
            started_s=result.started_s,
            ended_s=result.ended_s,
            client_cpu_share=result.client_cpu_share,
            processes=processes,
            seed=options.seed,
            shared_tokens=sum(turn.shared_tokens for task in tasks for turn in task.turns),
            single_turn=all(len(task.turns) == 1 for task in tasks),
            exact_tokens=tokenizer.exact or not workload.exact,
            new_prompts=workload.exact and not options.repeatable,
            server=server.info,
        )
        whole = Measured(cell, result.records, samples, result.lags)
        self.run.add(whole)
        return whole

    @contextlib.contextmanager
    def watching(self, part: str, server: Server | None = None) -> Iterator[None]:
        """Keep what the machine did while something without a cell was measured: the verdict goes by it, too.

        Without a server nothing but this program and its children is to run.
        """
        sampler = Sampler("", server.pids if server else (), None)
        without = {} if server else {"cpu_s": 0.0}
        before = {**sampler.local(self.epoch_s), **without}
        try:
            yield
        finally:
            rows = [before, {**sampler.local(self.epoch_s), **without}]
            self.run.put_extra({"parts": {**(self.run.extra().get("parts") or {}), part: rows}})

    async def _drive(
        self, server: Server, shard: Shard, warm: list[Task], processes: int, bar: _Bar
    ) -> tuple[fleet.FleetResult, list[Sample]]:
        kept = []
        if warm:
            users = min(len(warm), shard.users or 4)
            first = dataclasses.replace(shard, tasks=warm, users=users, phase="warmup", duration_s=None)
            kept = (await fleet.run(first, 1, lambda _: None)).records
        samples: list[Sample] = []
        sampler = Sampler(server.base_url, server.pids, server.api_key, self._period_s)
        async with sampler.running(self.epoch_s, samples):
            result = await fleet.run(shard, processes, bar.update)
        result.records[:0] = kept
        return result, samples

    @contextlib.contextmanager
    def _bar(self, label: str, total: int) -> Iterator[_Bar]:
        if self._progress is None:
            yield _Bar(None, None, label)
            return
        task = self._progress.add_task(label, total=total)
        yield _Bar(self._progress, task, label)
        self._progress.update(task, total=max(1, total), completed=max(1, total))


class _Bar:
    """One cell's progress bar, with live tokens per second."""

    def __init__(self, bars: Progress | None, task: TaskID | None, label: str) -> None:
        self._bars, self._task, self._label = bars, task, label
        self._began_s = perf_counter()

    def update(self, state: dict[str, int]) -> None:
        if self._bars is None or self._task is None:
            return
        rate = state.get("tokens", 0) / max(1e-6, perf_counter() - self._began_s)
        failed = f", {state['failed']} failed" if state.get("failed") else ""
        text = f"{self._label} {rate:,.0f} tok/s{failed}"
        self._bars.update(self._task, completed=state.get("done", 0), description=text)
