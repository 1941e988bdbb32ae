"""Drive a shard against a fake and return its records."""

from __future__ import annotations

import asyncio
import random
from time import perf_counter
from typing import Any

from quantserve.benchmarks.load import workers
from quantserve.benchmarks.load.plan import LoadTarget, Shard, Task, Turn


def tasks(count: int, low: int, high: int | None = None, at: list[float] | None = None) -> list[Task]:
    """Plain completions of `low` to `high` tokens; lengths differ so that users do not move in step."""
    chance = random.Random(7)
    return [
        Task(
            id=number,
            turns=[Turn(prompt="four words of prompt", max_tokens=chance.randint(low, high or low))],
            at_s=at[number] if at else None,
        )
        for number in range(count)
    ]


def drive(
    url: str, work: list[Task], users: int | None, processes: int = 1, ramp_s: float = 0.0, **target: Any
) -> workers.FleetResult:
    """Run one cell."""
    shard = Shard(
        cell="c",
        target=LoadTarget(base_url=url, model="fake", **{"timeout_s": 20.0, **target}),
        tasks=work,
        users=users,
        epoch_s=perf_counter(),
        ramp_s=ramp_s,
    )
    return asyncio.run(workers.run(shard, processes, lambda _: None))
