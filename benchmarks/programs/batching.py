"""What does batching buy? The same requests one at a time, in static, dynamic and continuous batches.

    quantserve benchmarks batching models/SmolLM2-135M-Instruct

The first three run in transformers, the last in our server: same weights, dtype, threads and libraries.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from quantserve.benchmarks import servers
from quantserve.benchmarks.errors import BadOption, ServerUnusable
from quantserve.benchmarks.load.spec import parse as parse_load
from quantserve.benchmarks.peers import commands
from quantserve.benchmarks.programs.common import (
    RunOptions,
    begin,
    find,
    finish,
    measure_loads,
    note_failed,
    tps,
)
from quantserve.benchmarks.report import show, slots
from quantserve.benchmarks.store import Run
from quantserve.benchmarks.workload.spec import parse as parse_workload
from quantserve.core.report.table import Section, Table

ONE, STATIC, DYNAMIC, CONTINUOUS = "one at a time", "static batches", "dynamic batches", "continuous (vLLM)"
MODES = {ONE: "single", STATIC: "static", DYNAMIC: "dynamic"}
WAYS = (ONE, STATIC, DYNAMIC, CONTINUOUS)


@dataclasses.dataclass(frozen=True)
class BatchingOptions:
    """What is served, to how many."""

    workload: str = "synthetic:prompt=16-128,output=8-96"
    users: tuple[int, ...] = (1, 8, 32)
    requests_per_user: int = 3
    least_requests: int = 10
    one_at_a_time_requests: int = 10
    """That way's throughput hardly depends on load, and it is slow."""
    window_s: float = 0.05
    profile: str | None = None
    """Ours is started with this profile; None: the machine's own."""


QUICK = BatchingOptions(
    workload="synthetic:prompt=16-64,output=4-32",
    users=(1, 16),
)


def measure(target: str, options: RunOptions, how: BatchingOptions) -> dict[str, Any]:
    """Measure the four ways and write the report; return the metrics."""
    options = options.settled()
    workload = parse_workload(how.workload)
    if not Path(target).is_dir():
        raise BadOption(
            f"{target} is no directory", mend="Give a checkpoint: quantserve quantize model prints one"
        )
    details = {"workload": how.workload, "target": target, "window_s": how.window_s}
    run, bench = begin("batching", "Four ways to batch", options, details)

    def loads(way: str) -> list[tuple[Any, int]]:
        out = []
        for users in how.users:
            count = max(how.least_requests, users * how.requests_per_user)
            if way == ONE:
                count = max(users, how.one_at_a_time_requests)
            elif way == STATIC:
                count = -(-count // users) * users  # whole batches, so that none waits for more
            out.append((parse_load(f"closed:{users}"), count))
        return out

    with bench.showing():
        for repeat in range(options.repeats):
            with servers.ours(target, profile=how.profile) as server:
                why = measure_loads(
                    bench, server, CONTINUOUS, workload, loads(CONTINUOUS), options, repeat=repeat, warmup=4
                )
                dtype, env = commands.engine_dtype(server) or "float32", commands.engine_env(server)
            if why:
                note_failed(run, CONTINUOUS, why)
            port = servers.free_port()
            argv = commands.transformers(target, server.model, port, dtype)
            with servers.command(argv, env, port, server.model) as plain:
                for way, mode in MODES.items():
                    for index, (load, count) in enumerate(loads(way)):
                        _configure(plain, mode, load.users or 1, how.window_s)
                        why = measure_loads(
                            bench,
                            plain,
                            way,
                            workload,
                            [(load, count)],
                            options,
                            repeat=repeat,
                            warmup=index == 0,
                        )
                        if why:
                            note_failed(run, way, why)
    return finish(run, sections)


def _configure(server: servers.Server, mode: str, batch: int, window_s: float) -> None:
    url = server.base_url.removesuffix("/v1") + "/configure"
    try:
        body = {"mode": mode, "batch": batch, "window_s": window_s}
        httpx.post(url, json=body, timeout=10.0, trust_env=False).raise_for_status()
    except httpx.HTTPError as error:
        raise ServerUnusable(f"the batch server cannot be configured: {error}") from error


def sections(run: Run, metrics: dict[str, Any], folder: Path) -> list[Section]:
    """One table, one picture of the slots."""
    points = metrics["points"]
    users = sorted({p["users"] for p in points})
    if not users:
        return []
    heavy = users[-1]
    epoch_s = run.extra().get("epoch_perf_counter_s", 0.0)
    lanes = {}
    for measured in run.measured():
        if measured.cell.users == heavy and measured.cell.repeat == 0 and measured.cell.subject in WAYS:
            lanes[measured.cell.subject] = slots.lanes(measured, epoch_s)
    slots.draw({way: lanes[way] for way in WAYS if way in lanes}, heavy, folder / "slots.png")
    base = tps(points, ONE, heavy)
    rows = []
    for way in WAYS:
        for p in find(points, way, heavy):
            f = p["figures"]
            use = slots.usefulness(lanes[way], heavy) if way in lanes else None
            rows.append(
                [
                    way,
                    show.with_interval(f["output_tps"], f["output_tps_ci95"]),
                    show.times(show.ratio(f["output_tps"], base)),
                    show.ms(f["ttft"]["p50"]),
                    show.ms(f["e2e"]["p50"]),
                    show.ms(f["e2e"]["p95"]),
                    show.percent(use),
                    show.failures(f),
                ]
            )
    columns = [
        "way",
        "output tok/s",
        "× one at a time",
        "TTFT p50",
        "E2E p50",
        "E2E p95",
        "slots at work",
        "failed",
    ]
    table = Table(f"{heavy} users", columns, rows, "Times in milliseconds.")
    over = Table("Output tokens per second", ["way", *(f"{n} at once" for n in users)], _over(points, users))
    text = (
        f"{heavy} users send requests of mixed length. “Slots at work” is the share of slot time spent on a "
        "request that still needed tokens: a static or dynamic batch keeps the slots of its short answers "
        "until its longest one ends, and answers only then; continuous batching gives a slot to the next "
        "request at once and streams. The first three ways run in transformers, so their kernels differ "
        "from vLLM's too: compare one at a time with continuous at 1 user to see how much."
    )
    caption = (
        "Blue: a request at work in its slot. Orange: ended, but held until its batch ends. White: empty."
    )
    return [Section("What batching buys", text, [table, over], [("slots.png", caption)])]


def _over(points: Sequence[dict[str, Any]], users: Sequence[int]) -> list[list[str]]:
    return [[way, *(show.number(tps(points, way, count)) for count in users)] for way in WAYS]
