"""What does batching buy? The same requests one at a time, in static, dynamic and continuous batches.

    quantserve benchmarks batching models/SmolLM2-135M-Instruct

The first three run in transformers, the last in our server: same weights, dtype, threads and libraries.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from quantserve.benchmarks import servers
from quantserve.benchmarks.load.arrivals import Load, closed
from quantserve.benchmarks.load.workload import parse_workload
from quantserve.benchmarks.measure.bench import ScenarioOptions, begin, require_directory
from quantserve.benchmarks.measure.store import MeasuredCell, Run
from quantserve.benchmarks.peers import commands
from quantserve.benchmarks.report import units
from quantserve.benchmarks.report.outcome import finish, points_of, tps
from quantserve.core.report.plots import COLOURS, save
from quantserve.core.report.table import Section, Table


@dataclasses.dataclass(frozen=True)
class SlotStay:
    """One request in one slot; seconds from the first send of its cell."""

    slot: int
    began_s: float
    own_end_s: float
    left_s: float


def slots_of(measured: MeasuredCell, epoch_s: float) -> list[SlotStay]:
    """Stays of a cell: as the server reported them, or for a continuous server one stay per request.

    vLLM does not say which slot a request has, so its requests are dealt to the first free lane; each
    stays from its first token (the prefill's end) to its last.
    """
    good = [r for r in measured.records if r.ok and r.phase == "measure" and r.token_s]
    if not good:
        return []
    zero = min(r.sent_s for r in good)
    if all(r.extra and "began_s" in r.extra for r in good):
        return [
            SlotStay(
                slot=int(r.extra["slot"]),
                began_s=r.extra["began_s"] - epoch_s - zero,
                own_end_s=r.extra["own_end_s"] - epoch_s - zero,
                left_s=r.extra["ended_s"] - epoch_s - zero,
            )
            for r in good
            if r.extra
        ]
    free: list[float] = []
    stays = []
    for record in sorted(good, key=lambda r: r.sent_s):
        began, ended = record.sent_s - zero, record.token_s[-1] - zero
        slot = next((number for number, until in enumerate(free) if until <= began), len(free))
        if slot == len(free):
            free.append(ended)
        else:
            free[slot] = ended
        stays.append(SlotStay(slot, began, ended, ended))
    return stays


def usefulness(stays: Sequence[SlotStay], slots: int) -> float | None:
    """Share of slot time, from the first start to the last end, spent on requests that needed tokens."""
    if not stays:
        return None
    span = max(stay.left_s for stay in stays) - min(stay.began_s for stay in stays)
    return sum(stay.own_end_s - stay.began_s for stay in stays) / (span * slots) if span > 0 else None


def draw_slots(ways: Mapping[str, Sequence[SlotStay]], slots: int, path: Path) -> None:
    """One panel per way, on one time axis."""
    if not ways:
        return
    shown = min(slots, 16)
    height = 0.7 + 0.11 * shown
    figure, column = plt.subplots(
        len(ways), 1, figsize=(9.5, height * len(ways) + 0.6), sharex=True, squeeze=False
    )
    for axes, (way, stays) in zip(column[:, 0], ways.items(), strict=True):
        for stay in stays:
            if stay.slot < shown:
                axes.barh(
                    stay.slot,
                    stay.own_end_s - stay.began_s,
                    left=stay.began_s,
                    color=COLOURS[0],
                    height=0.82,
                    edgecolor="white",
                    linewidth=0.4,
                )
                axes.barh(
                    stay.slot, stay.left_s - stay.own_end_s, left=stay.own_end_s, color="#F0B060", height=0.82
                )
        use = usefulness(stays, slots)
        axes.set_title(f"{way}: slots at work {use:.0%} of the time" if use is not None else way)
        axes.set_ylim(-0.6, shown - 0.4)
        axes.set_yticks([])
        axes.set_ylabel(f"{shown} slots")
        axes.grid(axis="y", visible=False)
    column[-1, 0].set_xlabel("seconds")
    figure.tight_layout()
    save(figure, path)


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


FULL = BatchingOptions()
QUICK = BatchingOptions(workload="synthetic:prompt=16-64,output=4-32", users=(1, 16))


def measure(target: str, options: ScenarioOptions, how: BatchingOptions) -> dict[str, Any]:
    """Measure the four ways and write the report; return the metrics."""
    workload = parse_workload(how.workload)
    require_directory(target)
    details = {"workload": how.workload, "target": target, "window_s": how.window_s}
    bench = begin("batching", "Four ways to batch", options, details)

    def loads(way: str) -> list[tuple[Load, int]]:
        out = []
        for users in how.users:
            count = max(how.least_requests, users * how.requests_per_user)
            if way == ONE:
                count = max(users, how.one_at_a_time_requests)
            elif way == STATIC:
                count = -(-count // users) * users  # whole batches, so that none waits for more
            out.append((closed(users), count))
        return out

    with bench.showing():
        for repeat in range(options.repeats):
            with servers.ours(target, profile=how.profile) as server:
                why = bench.loads(server, CONTINUOUS, workload, loads(CONTINUOUS), repeat=repeat)
                dtype, env = commands.engine_dtype(server) or "float32", commands.engine_env(server)
            if why:
                bench.note_failed(CONTINUOUS, why)
            port = servers.free_port()
            argv = commands.transformers(target, server.model, port, dtype)
            with servers.command(argv, env, port, server.model) as plain:
                for way, mode in MODES.items():
                    for index, (load, count) in enumerate(loads(way)):
                        commands.configure(plain, mode, load.users or 1, how.window_s)
                        why = bench.loads(
                            plain, way, workload, [(load, count)], repeat=repeat, warmup=int(index == 0)
                        )
                        if why:
                            bench.note_failed(way, why)
    return finish(bench.run, sections)


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
            lanes[measured.cell.subject] = slots_of(measured, epoch_s)
    draw_slots({way: lanes[way] for way in WAYS if way in lanes}, heavy, folder / "slots.png")
    base = tps(points, ONE, heavy)
    rows = []
    for way in WAYS:
        for p in points_of(points, way, heavy):
            f = p["figures"]
            use = usefulness(lanes[way], heavy) if way in lanes else None
            rows.append(
                [
                    way,
                    units.with_interval(f["output_tps"], f["output_tps_ci95"]),
                    units.times(units.ratio(f["output_tps"], base)),
                    units.ms(f["ttft"]["p50"]),
                    units.ms(f["e2e"]["p50"]),
                    units.ms(f["e2e"]["p95"]),
                    units.percent(use),
                    units.failures(f),
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
    return [[way, *(units.number(tps(points, way, count)) for count in users)] for way in WAYS]
