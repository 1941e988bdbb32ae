"""Drive a shard: closed loop (users) or open loop (planned times), and watch the event loop's delay."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from time import perf_counter

from quantserve.benchmarks.client.http import Http
from quantserve.benchmarks.client.session import headers_of, path_of, play
from quantserve.benchmarks.plan import Shard, Task
from quantserve.benchmarks.records import Record

LAG_PERIOD_S = 0.02


async def drive(shard: Shard, start_s: float, emit: Callable[[Record], None]) -> list[tuple[float, float]]:
    """Send the shard's tasks from `start_s` (perf_counter) on.

    Returns:
        Event loop delays as (seconds since the run's epoch, seconds late).
    """
    http = Http(
        shard.target.base_url, path_of(shard.target), headers_of(shard.target), shard.target.timeout_s
    )
    lags: list[tuple[float, float]] = []
    watcher = asyncio.create_task(_watch(shard.epoch_s, lags))
    await _until(start_s)
    end_s = None if shard.duration_s is None else start_s + shard.duration_s
    if shard.users is None:
        work = [asyncio.create_task(_open(http, shard, task, start_s, end_s, emit)) for task in shard.tasks]
    else:
        queue = iter(shard.tasks)
        step_s = shard.ramp_s / shard.users
        work = [
            asyncio.create_task(_user(http, shard, queue, start_s + number * step_s, end_s, emit))
            for number in range(shard.users)
        ]
    limit_s = None if end_s is None else end_s - perf_counter() + shard.grace_s
    _, late = await asyncio.wait(work, timeout=limit_s) if work else (set(), set())
    for task in late:
        task.cancel()
    results = await asyncio.gather(*work, return_exceptions=True)
    watcher.cancel()
    http.close()
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result
    return lags


async def _until(when_s: float) -> None:
    while (left := when_s - perf_counter()) > 0:
        await asyncio.sleep(left)


async def _open(
    http: Http, shard: Shard, task: Task, start_s: float, end_s: float | None, emit: Callable[[Record], None]
) -> None:
    intended_s = start_s + (task.at_s or 0.0)
    if end_s is not None and intended_s >= end_s:
        return
    await _until(intended_s)
    await play(http, shard, task, intended_s, emit)


async def _user(
    http: Http,
    shard: Shard,
    queue: Iterator[Task],
    start_s: float,
    end_s: float | None,
    emit: Callable[[Record], None],
) -> None:
    await _until(start_s)
    for task in queue:
        now = perf_counter()
        if end_s is not None and now >= end_s:
            return
        await play(http, shard, task, now, emit)


async def _watch(epoch_s: float, lags: list[tuple[float, float]]) -> None:
    while True:
        before = perf_counter()
        await asyncio.sleep(LAG_PERIOD_S)
        now = perf_counter()
        lags.append((now - epoch_s, max(0.0, now - before - LAG_PERIOD_S)))
