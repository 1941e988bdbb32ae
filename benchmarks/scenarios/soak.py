"""Minutes of load with everything that usually wears a server out: leaks, drift and failures.

    quantserve benchmarks soak artifacts/NAME/current --minutes 10

Users stream without a pause; beside them some clients leave in the middle of a stream and some send malformed
requests. Time is cut into windows; memory, descriptors and speed of the last are compared with the first
after warm-up. At the end nothing may be running and the server must still decode.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from quantserve.benchmarks import servers
from quantserve.benchmarks.errors import TargetMissed
from quantserve.benchmarks.load.arrivals import closed
from quantserve.benchmarks.load.faults import FaultCounts, FaultInjection
from quantserve.benchmarks.load.plan import LoadTarget
from quantserve.benchmarks.load.workload import parse_workload
from quantserve.benchmarks.measure.bench import CellOptions, ScenarioOptions, begin, require_directory
from quantserve.benchmarks.measure.metrics import Slo, rates
from quantserve.benchmarks.measure.sampling import parse_metrics, rise, summarise
from quantserve.benchmarks.measure.store import MeasuredCell, Run
from quantserve.benchmarks.records import Failure
from quantserve.benchmarks.report import units
from quantserve.benchmarks.report.outcome import finish
from quantserve.core.report.table import Section, Table

SUBJECT = "soak"


@dataclasses.dataclass(frozen=True)
class SoakOptions:
    """How long, how hard, and what is still sound."""

    minutes: float = 10.0
    users: int = 8
    leavers: int = 2
    profile: str | None = None
    """The server is started with this profile; None: the machine's own."""
    workload: str = "synthetic:prompt=16-128,output=16-96"
    first_requests: int = 200
    """Prompts made for the first window; later ones get twice what the one before used."""
    kv_cache_bytes: int = 256 << 20
    """Small, so that it is filled once within the warm-up: a cache filling up must not look like a leak."""
    memory_growth: float = 0.05
    """Most that proportional memory may grow from the first half after warm-up to the second."""
    more_descriptors: int = 16
    slower: float = 0.15
    """Most that the speed may fall over the same halves."""
    busy: float = 0.10
    """Share of the processors taken by other programs from which on tok/s says nothing about the server."""

    @property
    def windows(self) -> int:
        """One a minute, and enough to tell halves apart."""
        return max(4, round(self.minutes))


@dataclasses.dataclass(frozen=True)
class SoakWindow:
    """One part of the time."""

    tokens_ps: float
    tokens_per_cpu_s: float
    """Output tokens per second of processor time of the server."""
    memory_bytes: float | None
    descriptors: float | None
    other_share: float | None
    """None: not known, as the other two."""
    failed: int
    requests: int


@dataclasses.dataclass(frozen=True)
class SoakCheck:
    """One promise and whether it was kept."""

    name: str
    found: str
    allowed: str
    met: bool
    """What nobody saw was not kept."""


def measure(target: str, options: ScenarioOptions, how: SoakOptions) -> dict[str, Any]:
    """Soak the server, write the report and return the metrics.

    Raises:
        TargetMissed: a check failed; everything is written before.
    """
    require_directory(target)
    details = {"workload": how.workload, "target": target, "how": dataclasses.asdict(how)}
    bench = begin("soak", f"{how.minutes:g} minutes under load", options, details)
    workload = parse_workload(how.workload)
    flags = ("--kv-cache-memory-bytes", str(how.kv_cache_bytes))
    with bench.showing(), servers.ours(target, flags, how.profile) as server:
        with FaultInjection(
            LoadTarget(server.base_url, server.model), leavers=how.leavers, seed=bench.options.seed or 0
        ) as faults:
            enough = how.first_requests
            for number in range(how.windows):
                cell = CellOptions(
                    enough,
                    duration_s=how.minutes * 60 / how.windows,
                    seed=bench.seed(number, 0),
                    warmup=0 if number else 4,
                )
                measured = bench.cell(server, SUBJECT, workload, closed(how.users), number, cell)
                enough = max(how.first_requests, 2 * len(measured.records))
        bench.run.put_extra({"faults": faults.counts.to_json(), "left_over": left_over(server)})
    found = checks(bench.run)
    metrics = finish(bench.run, sections, {"checks": [dataclasses.asdict(check) for check in found]})
    if broken := [check for check in found if not check.met]:
        first = broken[0]
        raise TargetMissed(
            f"{first.name}: {first.found}, allowed {first.allowed}", mend=f"See {bench.run.path}"
        )
    return metrics


def left_over(server: servers.Server) -> dict[str, Any]:
    """What still runs once everyone has gone, and whether a token comes."""
    root = server.base_url.removesuffix("/v1")
    body = {"model": server.model, "prompt": "The", "max_tokens": 1}
    with httpx.Client(timeout=60.0, trust_env=False) as client:
        decodes = client.post(f"{server.base_url}/completions", json=body).status_code == 200
        seen = parse_metrics(client.get(f"{root}/metrics").text)
    return {"decodes": decodes, "running": seen.get("running"), "waiting": seen.get("waiting")}


def windows(measured: Sequence[MeasuredCell], cores: int) -> list[SoakWindow]:
    """The figures of each window. Pure."""
    out = []
    for one in measured:
        records = [r for r in one.records if r.phase == "measure"]
        summary = summarise(one.samples, cores)
        tokens = sum(r.completion_tokens or 0 for r in records if r.ok)
        out.append(
            SoakWindow(
                tokens_ps=rates(records, Slo())["output_tps"] or 0.0,
                tokens_per_cpu_s=tokens / (rise(one.samples, "cpu_s") or float("inf")),
                memory_bytes=_last(one, "memory_bytes"),
                descriptors=_last(one, "descriptors"),
                other_share=summary["other_cpu_share"],
                failed=sum(r.failure is not None and r.failure != Failure.CUT_OFF for r in records),
                requests=sum(r.failure != Failure.CUT_OFF for r in records),
            )
        )
    return out


def _last(measured: MeasuredCell, name: str) -> float | None:
    """The median of a figure's last five samples, while the load was still on."""
    values = [row[name] for row in measured.samples if name in row]
    return statistics.median(values[-5:]) if values else None


def _known(values: Sequence[float | None]) -> list[float] | None:
    """The values, or None when one of them is not known."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else None


def halves(values: Sequence[float]) -> tuple[float, float]:
    """Medians of the first and the second half, without the first fifth, which warms up. Pure."""
    counted = values[max(1, len(values) // 5) :] if len(values) > 2 else values
    middle = max(1, len(counted) // 2)
    return statistics.median(counted[:middle]), statistics.median(counted[middle:] or counted)


def checks(run: Run) -> list[SoakCheck]:
    """Every promise against what the run's raw files say."""
    how = SoakOptions(**run.config()["how"])
    cores = (run.environment().get("cpu") or {}).get("cores") or 1
    parts = windows(run.measured(), cores)
    faults, left = run.extra()["faults"], run.extra()["left_over"]
    counts = FaultCounts(**{**faults, "statuses": Counter(faults["statuses"])})
    return judge(parts, counts, left, how)


def judge(
    parts: Sequence[SoakWindow], counts: FaultCounts, left: dict[str, Any], how: SoakOptions
) -> list[SoakCheck]:
    """Decide. Pure."""
    failed, asked = sum(p.failed for p in parts), sum(p.requests for p in parts)
    memory, files = _known([p.memory_bytes for p in parts]), _known([p.descriptors for p in parts])
    # What others take slows every answer, but not what a token costs the server.
    others = _known([p.other_share for p in parts])
    quiet = others is not None and statistics.median(others) <= how.busy
    speed = halves([p.tokens_ps if quiet else p.tokens_per_cpu_s for p in parts])
    drift = speed[1] / speed[0] - 1 if speed[0] else -1.0
    state = [units.number(left[name]) for name in ("running", "waiting")]
    running = f"{state[0]} running, {state[1]} waiting" if left["decodes"] else "no token"
    idle = bool(left["decodes"]) and left["running"] == 0 and left["waiting"] == 0
    return [
        SoakCheck("failed requests", f"{failed} of {asked}", "0", failed == 0 and asked > 0),
        SoakCheck(
            "bad answers to malformed requests", f"{counts.bad} of {counts.malformed}", "0", counts.bad == 0
        ),
        SoakCheck("clients that left midway", str(counts.left), "≥ 1", counts.left > 0),
        _memory_check(memory, how),
        _descriptor_check(files, how),
        SoakCheck(
            "output tok/s"
            if quiet
            else "output tokens per CPU second, for the machine is not known to be quiet",
            f"{units.number(speed[0])} → {units.number(speed[1])} ({drift:+.1%})",
            f"≥ -{how.slower:.0%}",
            drift >= -how.slower,
        ),
        SoakCheck("afterwards", running, "idle, and decodes", idle),
    ]


def _memory_check(values: list[float] | None, how: SoakOptions) -> SoakCheck:
    allowed = f"≤ {how.memory_growth:+.0%}"
    if values is None or not all(values):
        return SoakCheck("memory", "not known", allowed, met=False)
    before, after = halves(values)
    growth = after / before - 1
    found = f"{units.mebibytes(before)} → {units.mebibytes(after)} MiB ({growth:+.1%})"
    return SoakCheck("memory", found, allowed, growth <= how.memory_growth)


def _descriptor_check(values: list[float] | None, how: SoakOptions) -> SoakCheck:
    allowed = f"≤ +{how.more_descriptors}"
    if values is None or not all(values):
        return SoakCheck("descriptors", "not known", allowed, met=False)
    before, after = halves(values)
    return SoakCheck(
        "descriptors", f"{before:.0f} → {after:.0f}", allowed, after - before <= how.more_descriptors
    )


def sections(run: Run, metrics: dict[str, Any], folder: Path) -> list[Section]:
    """The checks, and the windows behind them."""
    del metrics, folder
    cores = (run.environment().get("cpu") or {}).get("cores") or 1
    rows = [[c.name, c.found, c.allowed, "yes" if c.met else "NO"] for c in checks(run)]
    parts = [
        [
            str(number + 1),
            units.number(part.tokens_ps),
            units.number(part.tokens_per_cpu_s),
            units.mebibytes(part.memory_bytes),
            units.UNKNOWN if part.descriptors is None else f"{part.descriptors:.0f}",
            f"{part.failed} of {part.requests}",
            units.percent(part.other_share),
        ]
        for number, part in enumerate(windows(run.measured(), cores))
    ]
    columns = ["window", "tok/s", "tok/CPU s", "MiB", "descriptors", "failed", "other programs"]
    faults = run.extra()["faults"]
    answers = ", ".join(f"{count} × {kind}" for kind, count in sorted(faults["statuses"].items()))
    text = f"{faults['left']} streams were left midway; answers to the unwanted clients: {answers}."
    if faults["examples"]:
        text += " Wrong: " + "; ".join(faults["examples"])
    return [
        Section(
            "Soak",
            text,
            [Table("Promises", ["what", "found", "allowed", "kept"], rows), Table("Windows", columns, parts)],
        )
    ]
