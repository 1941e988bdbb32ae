"""What the guard costs over HTTP: our engine with and without it, both up, asked in turns.

    quantserve benchmarks guard models/SmolLM2-135M-Instruct

The guarded one is as deployed: a key, limits and an audit log. Paths that generate nothing are asked one
request at a time, bare and guarded by turns, so that a busy machine disturbs both alike; then both stream
under load. `python -m quantserve.serving.guard.bench` is the same without sockets and engine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import orjson

from quantserve.benchmarks import servers
from quantserve.benchmarks.errors import BadOption, ServerUnusable, TargetMissed
from quantserve.benchmarks.load.arrivals import closed_loads
from quantserve.benchmarks.load.workload import parse_workload
from quantserve.benchmarks.measure.analysis import analyse
from quantserve.benchmarks.measure.bench import ScenarioOptions, begin, require_directory
from quantserve.benchmarks.measure.store import Run
from quantserve.benchmarks.measure.subjects import Subject, alternate, staying_up
from quantserve.benchmarks.report import units
from quantserve.benchmarks.report.outcome import finish, points_of
from quantserve.core.home import generated
from quantserve.core.report.table import Section, Table
from quantserve.core.stats import Interval, needed, paired_ratio, quantile, typical

BARE, GUARDED = "bare", "guarded"
_GUARD_FLAG, _GUARD_VARIABLE = "--middleware", "QUANTSERVE_GUARD"
_TEXT = "the quick brown fox jumps over the lazy dog " * 4


@dataclasses.dataclass(frozen=True)
class GuardOptions:
    """How much is asked, and what it may cost."""

    rounds: int = 10
    requests_per_round: int = 500
    """Of each side; a round's p99 takes 368, and the interval over rounds six of them."""
    users: int = 32
    requests_per_user: int = 3
    workload: str = "synthetic:prompt=16-64,output=32-64"
    median_s: float = 0.0003
    """Most that the median may grow by."""
    p99_s: float = 0.001
    """Most that the 99th percentile may grow by."""


FULL = GuardOptions()
QUICK = GuardOptions(rounds=6, requests_per_round=400, requests_per_user=2)


@dataclasses.dataclass(frozen=True)
class PathCost:
    """What the guard adds to one path, in seconds: the median over rounds, with its interval."""

    path: str
    bare_median_s: float
    median_s: float
    median_interval: Interval
    p99_s: float
    p99_interval: Interval
    met: bool


@dataclasses.dataclass(frozen=True)
class GuardSpeed:
    """Output tokens per second, guarded ÷ bare; a loss is measurable when the interval lies below 1."""

    users: int
    bare: float
    guarded: float
    ratio: float
    interval: Interval
    met: bool


def measure(target: str, options: ScenarioOptions, how: GuardOptions) -> dict[str, Any]:
    """Measure both parts and write the report; return the metrics.

    Raises:
        TargetMissed: the guard costs more than it may; everything is written before.
    """
    require_directory(target)
    details = {
        "workload": how.workload,
        "target": target,
        "limits": {"median_s": how.median_s, "p99_s": how.p99_s},
    }
    bench = begin("guard", "What the guard costs over HTTP", options, details)
    ready: dict[str, servers.Server] = {}
    with (
        tempfile.TemporaryDirectory(prefix="quantserve-bench-") as folder,
        staying_up(_subjects(target, Path(folder))) as subjects,
    ):
        for subject in subjects:
            with subject.start() as server:
                ready[subject.name] = server
        with bench.watching("paths that generate nothing", ready[BARE]):
            bench.run.put_extra({"paths": _paths(ready[BARE], ready[GUARDED], how)})
        with bench.showing():
            loads = closed_loads([how.users], how.requests_per_user, 0)
            alternate(bench, subjects, [parse_workload(how.workload)], loads)
    costs, speed = judged(bench.run, analyse(bench.run)["points"])
    summary = {"paths": [dataclasses.asdict(c) for c in costs], "speed": dataclasses.asdict(speed)}
    metrics = finish(bench.run, sections, summary)
    for cost in costs:
        if not cost.met:
            raise TargetMissed(
                f"{cost.path}: the guard adds {cost.median_s * 1e3:.2f} ms at the median and "
                f"{cost.p99_s * 1e3:.2f} ms at p99; {how.median_s * 1e3:g} and {how.p99_s * 1e3:g} may be",
                mend="python -m quantserve.serving.guard.bench shows which part of it is slow",
            )
    if not speed.met:
        raise TargetMissed(f"the guard costs tokens: {speed.ratio:.3f} of the bare engine's per second")
    return metrics


def _subjects(target: str, folder: Path) -> list[Subject]:
    keys, secret = _new_key(folder)
    probe = generated("run/hardware.json")
    if probe.is_file():  # the machine need not be measured again
        shutil.copy(probe, folder)

    @contextlib.contextmanager
    def start(with_guard: bool) -> Iterator[servers.Server]:
        port = servers.free_port()
        planned = _planned(target, port, keys)
        key = secret if with_guard else None
        if not with_guard:
            planned = without_guard(planned)
        with servers.command(planned.argv, planned.env, port, planned.model, api_key=key) as server:
            yield server

    return [Subject(BARE, lambda: start(with_guard=False)), Subject(GUARDED, lambda: start(with_guard=True))]


@dataclasses.dataclass(frozen=True)
class PlannedServer:
    """A command line with the variables it needs."""

    argv: list[str]
    env: dict[str, str]
    model: str


def _new_key(folder: Path) -> tuple[Path, str]:
    """Make a keys file with one key; return both."""
    file = folder / "keys.json"
    return file, str(servers.ask_serving("keys", "create", "bench", "--keys", str(file))["key"])


def _planned(target: str, port: int, keys: Path) -> PlannedServer:
    """What would be started, guard, keys and audit log included."""
    words = ("plan", target, "--json", "--port", str(port), "--keys", str(keys))
    found = servers.ask_serving(*words, "--run-dir", str(keys.parent))
    return PlannedServer(found["argv"], found["env"], found["model"])


def without_guard(planned: PlannedServer) -> PlannedServer:
    """The same without the guard. Pure.

    Raises:
        ServerUnusable: the plan has no guard, so nothing would be compared.
    """
    if _GUARD_FLAG not in planned.argv or _GUARD_VARIABLE not in planned.env:
        raise ServerUnusable("the plan starts no guard")
    at = planned.argv.index(_GUARD_FLAG)
    argv = [*planned.argv[:at], *planned.argv[at + 2 :]]
    env = {name: value for name, value in planned.env.items() if name != _GUARD_VARIABLE}
    return PlannedServer(argv, env, planned.model)


class _KeptAlive:
    """One keep-alive connection to one server."""

    def __init__(self, server: servers.Server) -> None:
        host = urlsplit(server.base_url).netloc
        self._connection = http.client.HTTPConnection(host, timeout=30)
        self._headers = {"Content-Type": "application/json"}
        if server.api_key:
            self._headers["Authorization"] = f"Bearer {server.api_key}"

    def ask_s(self, method: str, path: str, body: bytes | None) -> float:
        """Ask once; return the seconds from the send to the last byte."""
        began = perf_counter()
        self._connection.request(method, path, body, self._headers)
        reply = self._connection.getresponse()
        text = reply.read()
        took = perf_counter() - began
        if reply.status != 200:
            raise ServerUnusable(f"{method} {path}: HTTP {reply.status}: {text[:200].decode()}")
        return took


def _paths(bare: servers.Server, other: servers.Server, how: GuardOptions) -> dict[str, list[list[float]]]:
    """Per path and round: median and p99 of both sides, seconds."""
    lines = (_KeptAlive(bare), _KeptAlive(other))
    tokenize = orjson.dumps({"model": bare.model, "prompt": _TEXT})
    asked: dict[str, tuple[str, str, bytes | None]] = {
        "GET /v1/models": ("GET", "/v1/models", None),
        "POST /tokenize": ("POST", "/tokenize", tokenize),
    }
    found: dict[str, list[list[float]]] = {}
    for name, request in asked.items():
        for line in lines:
            for _ in range(50):
                line.ask_s(*request)
        found[name] = [_round(lines, request, how.requests_per_round) for _ in range(how.rounds)]
    return found


def _round(
    lines: tuple[_KeptAlive, _KeptAlive], request: tuple[str, str, bytes | None], requests: int
) -> list[float]:
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(requests):
        for side in (0, 1) if number % 2 else (1, 0):
            times[side].append(lines[side].ask_s(*request))
    found = [quantile(side, q) for side in times for q in (0.5, 0.99)]
    known = [value for value in found if value is not None]
    if len(known) < len(found):
        raise BadOption(f"{requests} requests a round carry no p99", mend=f"Ask {needed(0.99)} or more")
    return known


def judged(run: Run, points: Sequence[dict[str, Any]]) -> tuple[list[PathCost], GuardSpeed]:
    """Both parts against their limits."""
    limits = run.config()["limits"]
    costs = [
        path_cost(name, rounds, limits["median_s"], limits["p99_s"])
        for name, rounds in (run.extra().get("paths") or {}).items()
    ]
    return costs, speed(points)


def path_cost(path: str, rounds: Sequence[Sequence[float]], median_s: float, p99_s: float) -> PathCost:
    """Judge one path; a round is (median, p99) of the bare side, then of the guarded one. Pure."""
    added, interval = typical([r[2] - r[0] for r in rounds])
    tail, tail_interval = typical([r[3] - r[1] for r in rounds])
    bare, _ = typical([r[0] for r in rounds])
    return PathCost(path, bare, added, interval, tail, tail_interval, added <= median_s and tail <= p99_s)


def speed(points: Sequence[dict[str, Any]]) -> GuardSpeed:
    """Compare the throughput of the two sides. Pure.

    Raises:
        ServerUnusable: one side answered nothing.
    """
    sides = [next(points_of(points, name), None) for name in (GUARDED, BARE)]
    rates = [point["figures"]["output_tps_by_repeat"] if point else [] for point in sides]
    pairs = list(zip(*rates, strict=False))
    if not pairs or sides[0] is None:
        raise ServerUnusable("one of the two answered nothing under load")
    ratio, interval = paired_ratio(pairs)
    met = ratio >= 1.0 if interval is None else interval[1] >= 1.0
    middle = [typical(values)[0] for values in zip(*pairs, strict=True)]
    return GuardSpeed(sides[0]["users"], middle[1], middle[0], ratio, interval, met)


def sections(run: Run, metrics: dict[str, Any], folder: Path) -> list[Section]:
    """Both tables."""
    del folder
    costs, rate = judged(run, metrics["points"])
    limits = run.config()["limits"]
    rows = [
        [
            cost.path,
            units.ms(cost.bare_median_s),
            _span(cost.median_s, cost.median_interval),
            _span(cost.p99_s, cost.p99_interval),
            "yes" if cost.met else "NO",
        ]
        for cost in costs
    ]
    allowed = f"≤ {units.ms(limits['median_s'])} and {units.ms(limits['p99_s'])}"
    columns = ["path", "bare median, ms", "added at median, ms", "added at p99, ms", allowed]
    paths = Table("Paths that generate nothing, one request at a time", columns, rows)
    row = [
        str(rate.users),
        units.number(rate.bare),
        units.number(rate.guarded),
        units.with_interval(rate.ratio, rate.interval),
        "yes" if rate.met else "NO",
    ]
    columns = ["concurrent", "bare, tok/s", "guarded, tok/s", "ratio [95 %]", "no measurable loss"]
    tokens = Table("Tokens per second", columns, [row])
    text = "The same engine twice, both up, asked in turns; the guard with a key, limits and an audit log."
    return [Section("What the guard costs", text, [paths, tokens])]


def _span(value: float, interval: Interval) -> str:
    text = f"{value * 1e3:.3f}"
    return text if interval is None else f"{text} [{interval[0] * 1e3:.3f}, {interval[1] * 1e3:.3f}]"
