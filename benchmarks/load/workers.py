"""Split one cell's tasks over load processes, start them together, gather their records.

    python -m quantserve.benchmarks.load.workers SHARD.json RECORDS.jsonl       one load process

It says `{"ready": true}` on stdout, waits for a line with the start time (perf_counter) on stdin, drives
its shard, reports progress once in a while, and at last its CPU seconds, with its event-loop delays in a
file beside the records. A process of its own, so that progress bars and sampling never delay a time stamp.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import orjson
import uvloop

from quantserve.benchmarks import records
from quantserve.benchmarks.errors import LoadWorkerFailed
from quantserve.benchmarks.load.plan import Shard, dump_shard, load_shard
from quantserve.benchmarks.load.session import drive
from quantserve.benchmarks.records import Failure, Record, encode

START_DELAY_S = 0.2


@dataclasses.dataclass
class FleetResult:
    """What the load processes returned."""

    records: list[records.Record]
    lags: list[tuple[float, float]]
    """(seconds since the run's epoch, event loop delay in seconds), of all processes."""
    started_s: float
    ended_s: float
    """Both since the run's epoch."""
    client_cpu_share: float
    """CPU seconds per second of the busiest load process: at 1 it is saturated."""


def split(shard: Shard, processes: int) -> list[Shard]:
    """Deal tasks and users out evenly; never more processes than users or tasks."""
    limit = len(shard.tasks) if shard.users is None else min(shard.users, len(shard.tasks))
    count = max(1, min(processes, limit))
    return [
        dataclasses.replace(
            shard,
            tasks=shard.tasks[number::count],
            users=None if shard.users is None else len(range(number, shard.users, count)),
        )
        for number in range(count)
    ]


def processes_for(users: int | None, rate_per_s: float | None) -> int:
    """How many load processes a load deserves on this machine: one, unless one could be the bottleneck."""
    wanted = 1
    if users is not None and users > 512:
        wanted = -(-users // 512)
    if rate_per_s is not None and rate_per_s > 1500:
        wanted = max(wanted, -(-int(rate_per_s) // 1500))
    return min(wanted, os.cpu_count() or 1)


async def run(shard: Shard, processes: int, on_progress: Callable[[dict[str, int]], None]) -> FleetResult:
    """Drive a whole cell.

    Raises:
        LoadWorkerFailed: a load process ended without its final report.
    """
    with tempfile.TemporaryDirectory(prefix="quantserve-bench-") as folder:
        members = [
            await _Member.start(part, Path(folder) / str(number))
            for number, part in enumerate(split(shard, processes))
        ]
        try:
            for member in members:
                await member.read()
            start_s = perf_counter() + START_DELAY_S
            for member in members:
                member.go(start_s)
            state: list[dict[str, int]] = [{} for _ in members]

            async def follow(number: int) -> None:
                while True:
                    line = await members[number].read()
                    state[number] = line
                    on_progress(
                        {key: sum(s.get(key, 0) for s in state) for key in ("done", "failed", "tokens")}
                    )
                    if line.get("end"):
                        return

            await asyncio.gather(*(follow(number) for number in range(len(members))))
            ended_s = perf_counter()
        finally:
            for member in members:
                await member.stop()
        result = [record for member in members for record in records.read(member.records_path)]
        lags = sorted(itertools.chain.from_iterable(member.lags() for member in members))
    finals: list[dict[str, Any]] = list(state)
    wall_s = max(ended_s - start_s, 1e-9)
    return FleetResult(
        records=sorted(result, key=lambda record: record.sent_s),
        lags=lags,
        started_s=start_s - shard.epoch_s,
        ended_s=ended_s - shard.epoch_s,
        client_cpu_share=max(final["cpu_s"] for final in finals) / wall_s,
    )


class _Member:
    """One load process."""

    def __init__(self, process: asyncio.subprocess.Process, records_path: Path) -> None:
        self._process = process
        # Both were asked for as pipes, so both exist.
        self._out = cast(asyncio.StreamReader, process.stdout)
        self._in = cast(asyncio.StreamWriter, process.stdin)
        self.records_path = records_path

    @classmethod
    async def start(cls, shard: Shard, stem: Path) -> _Member:
        plan_path, records_path = stem.with_suffix(".json"), stem.with_suffix(".jsonl")
        plan_path.write_bytes(dump_shard(shard))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "quantserve.benchmarks.load.workers",
            str(plan_path),
            str(records_path),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return cls(process, records_path)

    async def read(self) -> dict[str, Any]:
        line = await self._out.readline()
        if not line:
            code = await self._process.wait()
            raise LoadWorkerFailed(
                f"a load process ended with code {code}", mend="Its error is printed above"
            )
        value: dict[str, Any] = orjson.loads(line)
        return value

    def lags(self) -> list[tuple[float, float]]:
        return [(when, lag) for when, lag in orjson.loads(lags_path(self.records_path).read_bytes())]

    def go(self, start_s: float) -> None:
        self._in.write(f"{start_s!r}\n".encode())

    async def stop(self) -> None:
        if self._process.returncode is None:
            try:
                await asyncio.wait_for(self._process.wait(), 2.0)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()


PROGRESS_PERIOD_S = 0.25


def lags_path(records_path: Path) -> Path:
    """Where the event-loop delays are written: pairs of when (seconds since the run's epoch) and how long."""
    return records_path.with_suffix(".lags.json")


@dataclasses.dataclass
class _Progress:
    done: int = 0
    failed: int = 0
    tokens: int = 0
    told_s: float = 0.0


def _say(value: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


def main(shard_path: str, records_path: str) -> None:
    """Drive one shard."""
    shard = load_shard(Path(shard_path).read_bytes())
    progress = _Progress()
    with Path(records_path).open("wb") as stream:

        def emit(record: Record) -> None:
            stream.write(encode(record))
            progress.done += 1
            progress.failed += record.failure not in (None, Failure.CUT_OFF)
            progress.tokens += record.completion_tokens or 0
            now = time.perf_counter()
            if now - progress.told_s > PROGRESS_PERIOD_S:
                progress.told_s = now
                _say({"done": progress.done, "failed": progress.failed, "tokens": progress.tokens})

        _say({"ready": True})
        start_s = float(sys.stdin.readline())
        # Plans are large and live to the end: no collection pauses while stamps are taken.
        gc.collect()
        gc.freeze()
        gc.disable()
        cpu_s = time.process_time()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            lags = runner.run(drive(shard, start_s, emit))
        cpu_s = time.process_time() - cpu_s
    # by file, since a quarter of an hour of delays is megabytes, and the pipe is for short lines
    lags_path(Path(records_path)).write_bytes(orjson.dumps(lags))
    _say(
        {
            "done": progress.done,
            "failed": progress.failed,
            "tokens": progress.tokens,
            "end": True,
            "cpu_s": cpu_s,
        }
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
