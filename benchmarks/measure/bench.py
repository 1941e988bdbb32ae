"""Measure cells into a run: make the prompts, drive the load, sample meanwhile, store everything raw.

bench = begin("batching", "Four ways to batch", options, details)
with bench.showing(), servers.ours(target) as server:
    why = bench.loads(server, "ours", workload, [(load, 48)], repeat=0)
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import secrets
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.progress import Progress, TaskID

from quantserve.benchmarks.errors import BadOption, LoadWorkerFailed, ServerUnusable
from quantserve.benchmarks.load import workers
from quantserve.benchmarks.load.arrivals import Load
from quantserve.benchmarks.load.plan import LoadTarget, Shard, Task
from quantserve.benchmarks.load.synthetic import Tokenizer
from quantserve.benchmarks.load.workload import Workload
from quantserve.benchmarks.measure.metrics import Slo
from quantserve.benchmarks.measure.sampling import Sample, Sampler
from quantserve.benchmarks.measure.store import MeasuredCell, Run, collect_environment
from quantserve.benchmarks.records import LoadCell
from quantserve.benchmarks.servers import Server, public
from quantserve.core.console import console, styled
from quantserve.core.console import progress as new_progress
from quantserve.core.home import generated

RUNS = generated("runs")


@dataclasses.dataclass(frozen=True)
class ScenarioOptions:
    """What every scenario can be told."""

    root: Path = RUNS
    name: str | None = None
    seed: int | None = None
    """None draws one, so that a second run does not meet the first one's prefix cache."""
    repeats: int = 3
    slo: Slo = dataclasses.field(default_factory=Slo)
    quick: bool = False
    processes: int | None = None
    """Load processes; None: as many as a load needs."""
    seed_drawn: bool = False

    def settled(self) -> ScenarioOptions:
        """With a seed."""
        if self.seed is not None:
            return self
        return dataclasses.replace(self, seed=secrets.randbelow(10**6), seed_drawn=True)


@dataclasses.dataclass(frozen=True)
class CellOptions:
    """How one cell is measured."""

    requests: int
    """Upper bound on tasks; in a closed loop with `duration_s` make it generous."""
    duration_s: float | None = None
    seed: int = 0
    warmup: int = 0
    """Requests sent first, stored as `warmup`, never counted."""
    timeout_s: float = 600.0
    chunk_usage: bool = False


def begin(scenario: str, title: str, options: ScenarioOptions, details: dict[str, Any]) -> Bench:
    """Create the run directory and what measures into it."""
    options = options.settled()
    config = {
        "scenario": scenario,
        "title": title,
        "command": f"quantserve benchmarks {shlex.join(public(sys.argv[1:]))}",
        "seed": options.seed,
        "repeats": options.repeats,
        "quick": options.quick,
        "slo": dataclasses.asdict(options.slo),
        **details,
    }
    run = Run.create(options.root, options.name or scenario, config, collect_environment())
    return Bench(run, options)


def require_directory(target: str) -> None:
    """Refuse a target that is none, before a run is begun.

    Raises:
        BadOption: it is no directory.
    """
    if not Path(target).is_dir():
        raise BadOption(f"{target} is no directory", mend="quantserve quantize model prints one")


class Bench:
    """Measures cells one after the other."""

    def __init__(self, run: Run, options: ScenarioOptions, sample_period_s: float = 1.0) -> None:
        """All of the run's times count from now; `options` have a seed."""
        self.run = run
        self.options = options
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
        self, server: Server, subject: str, workload: Workload, load: Load, repeat: int, options: CellOptions
    ) -> MeasuredCell:
        """Measure one cell and store it.

        Raises:
            ServerUnusable: the server stopped answering before the load began.
            LoadWorkerFailed: a load process died.
        """
        self._cells += 1
        tokenizer = Tokenizer(server.base_url, server.model, server.api_key)
        warm = workload.tasks(options.warmup, options.seed + 777_777, tokenizer.count)
        tasks = workload.tasks(options.requests, options.seed, tokenizer.count)
        times = load.arrivals(len(tasks), options.seed)
        if times is not None:
            tasks = [dataclasses.replace(t, at_s=at) for t, at in zip(tasks, times, strict=False)]
        target = LoadTarget(
            base_url=server.base_url,
            model=server.model,
            api_key=server.api_key,
            chat=workload.chat,
            ignore_eos=workload.exact,
            chunk_usage=options.chunk_usage,
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
        )
        label = f"{subject} · {load.text} · {workload.text}" + (f" · repeat {repeat + 1}" if repeat else "")
        processes = self.options.processes or workers.processes_for(load.users, load.rate_per_s)
        with self._bar(label, len(tasks)) as bar:
            measured = asyncio.run(self._drive(server, shard, warm, processes, bar))
        result, samples = measured
        cell = LoadCell(
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
            new_prompts=workload.exact and self.options.seed_drawn,
            server=server.info,
        )
        whole = MeasuredCell(cell, result.records, samples, result.lags)
        self.run.add(whole)
        return whole

    def seed(self, repeat: int, index: int) -> int:
        """A seed for one cell: the same for every subject, different for every load and repeat."""
        return (self.options.seed or 0) * 10_000 + repeat * 100 + index

    def loads(
        self,
        server: Server,
        subject: str,
        workload: Workload,
        loads: Sequence[tuple[Load, int]],
        *,
        repeat: int,
        warmup: int = 4,
        base: CellOptions | None = None,
    ) -> str | None:
        """Measure a subject under each (load, number of requests); return why it had to stop, or None.

        A server that dies on the way is a result of the benchmark, not its end.
        """
        for index, (load, requests) in enumerate(loads):
            cell = dataclasses.replace(
                base or CellOptions(requests),
                requests=requests,
                seed=self.seed(repeat, index),
                warmup=warmup if index == 0 else 0,
            )
            try:
                self.cell(server, subject, workload, load, repeat, cell)
            except (ServerUnusable, LoadWorkerFailed) as error:
                return str(error)
        return None

    def note_failed(self, subject: str, why: str) -> None:
        """Store that a subject failed, in its own words."""
        console.print(styled((f"{subject} failed:", "yellow"), f" {why}"), soft_wrap=True)
        failed = {**(self.run.extra().get("failed_subjects") or {}), subject: why}
        self.run.put_extra({"failed_subjects": failed})

    @contextlib.contextmanager
    def watching(self, part: str, server: Server | None = None) -> Iterator[None]:
        """Store what the machine did while something without a cell was measured; the verdict goes by it.

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
    ) -> tuple[workers.FleetResult, list[Sample]]:
        warmed = []
        if warm:
            users = min(len(warm), shard.users or 4)
            first = dataclasses.replace(shard, tasks=warm, users=users, phase="warmup", duration_s=None)
            warmed = (await workers.run(first, 1, lambda _: None)).records
        samples: list[Sample] = []
        sampler = Sampler(server.base_url, server.pids, server.api_key, self._period_s)
        async with sampler.running(self.epoch_s, samples):
            result = await workers.run(shard, processes, bar.update)
        result.records[:0] = warmed
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
