"""Our server against plain vLLM, transformers and llama.cpp: same weights, same requests, in turns.

    quantserve benchmarks peers models/SmolLM2-135M-Instruct --gguf model.Q4_1.gguf

A peer that does not start or fails under load is part of the result, with its own error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from quantserve.benchmarks import servers
from quantserve.benchmarks.errors import BadOption
from quantserve.benchmarks.load.arrivals import closed_loads
from quantserve.benchmarks.load.workload import parse_workload
from quantserve.benchmarks.measure.bench import ScenarioOptions, begin, require_directory
from quantserve.benchmarks.measure.store import Run
from quantserve.benchmarks.measure.subjects import Subject, alternate, staying_up
from quantserve.benchmarks.peers import commands
from quantserve.benchmarks.report import plots, units
from quantserve.benchmarks.report.outcome import finish, tps
from quantserve.core.checkpoints import model_name
from quantserve.core.report.table import Section, Table

OURS = "quantserve"
VLLM = "vLLM, defaults"
VLLM_EAGER = "vLLM, defaults + eager"
VLLM_ALIVE = "vLLM, defaults + our libraries"
TRANSFORMERS = "transformers, static batches"
LLAMA = "llama.cpp"


@dataclasses.dataclass(frozen=True)
class PeerOptions:
    """Who, and under what load."""

    workload: str = "synthetic:prompt=16-128,output=16-96"
    users: tuple[int, ...] = (1, 16, 32)
    requests_per_user: int = 3
    least_requests: int = 16
    profile: str | None = None
    """Ours is started with this profile; None: the machine's own."""
    gguf: tuple[str, ...] = ()
    """GGUF files of the same model, each a peer."""
    llama_speculation: str | None = None
    """Also measure llama.cpp with speculative decoding of this kind (its --spec-type)."""
    artifacts: tuple[str, ...] = ()
    """Our artifacts of the model, each served by us beside the base."""
    eager: bool = False
    """Start plain vLLM with --enforce-eager: saves its compilation, which takes longer than a small run."""
    only: tuple[str, ...] = ()
    """Subjects whose name contains one of these."""


FULL = PeerOptions()
QUICK = PeerOptions(
    workload="synthetic:prompt=16-64,output=16-48",
    users=(1, 16),
    requests_per_user=1,
    least_requests=10,
    eager=True,
)


def measure(target: str, options: ScenarioOptions, how: PeerOptions) -> dict[str, Any]:
    """Measure all and write the report; return the metrics."""
    require_directory(target)
    subjects = _subjects(target, how)
    wanted = [s for s in subjects if not how.only or any(part in s.name for part in how.only)]
    if not wanted:
        raise BadOption(
            f"--only {' '.join(how.only)} matches nobody", mend="; ".join(s.name for s in subjects)
        )
    details = {"workload": how.workload, "target": target}
    bench = begin("peers", "Ours against its peers", options, details)
    loads = closed_loads(how.users, how.requests_per_user, how.least_requests)
    with bench.showing(), staying_up(wanted) as up:
        alternate(bench, up, [parse_workload(how.workload)], loads)
    return finish(bench.run, sections)


def _subjects(target: str, how: PeerOptions) -> list[Subject]:
    model, most = model_name(Path(target)), max(how.users)
    found: dict[str, Any] = {}
    eager = ["--enforce-eager"] if how.eager else []
    plain = VLLM_EAGER if how.eager else VLLM

    @contextlib.contextmanager
    def ours(which: str) -> Iterator[servers.Server]:
        with servers.ours(which, profile=how.profile) as server:
            found.setdefault("dtype", commands.engine_dtype(server))
            found.setdefault("equal", commands.equal_flags(server.info.get("argv") or []))
            found.setdefault("env", commands.engine_env(server))
            yield server

    @contextlib.contextmanager
    def started(argv_of: Any, env: bool, own: dict[str, str] | None = None) -> Iterator[servers.Server]:
        port = servers.free_port()
        variables = {**(found.get("env", {}) if env else {}), **(own or {})}
        with servers.command(argv_of(port), variables, port, model) as server:
            yield server

    def vllm(port: int) -> list[str]:
        return commands.vllm_defaults(target, model, port, [*eager, *found.get("equal", [])])

    @contextlib.contextmanager
    def static() -> Iterator[servers.Server]:
        def argv(port: int) -> list[str]:
            return commands.transformers(target, model, port, found.get("dtype") or "float32")

        with started(argv, env=True) as server:
            commands.configure(server, "dynamic", most, 0.05)
            yield server

    out = [Subject(OURS, functools.partial(ours, target))]
    out += [
        Subject(f"{OURS} {model_name(Path(path))}", functools.partial(ours, path)) for path in how.artifacts
    ]
    out += [
        Subject(plain, functools.partial(started, vllm, env=False, own=commands.VLLM_DEFAULT_ENV)),
        Subject(
            VLLM_ALIVE,
            functools.partial(started, vllm, env=True, own=commands.VLLM_DEFAULT_ENV),
            instead_of=plain,
        ),
        Subject(TRANSFORMERS, static),
    ]
    kinds = [None, how.llama_speculation] if how.llama_speculation else [None]
    for path, kind in itertools.product(how.gguf, kinds):

        def llama(port: int, path: str = path, kind: str | None = kind) -> list[str]:
            return commands.llama_cpp(path, model, port, most, kind)

        name = f"{LLAMA} {Path(path).stem.rpartition('.')[2]}{f' + {kind}' if kind else ''}"
        out.append(Subject(name, functools.partial(started, llama, env=False)))
    return out


def sections(run: Run, metrics: dict[str, Any], folder: Path) -> list[Section]:
    """How many times faster ours is."""
    points = metrics["points"]
    users = sorted({p["users"] for p in points})
    names = list(dict.fromkeys(p["subject"] for p in points))
    if not users or OURS not in names:
        return []
    rows = []
    for name in names:
        speeds = [tps(points, name, count) for count in users]
        ahead = [
            units.times(units.ratio(tps(points, OURS, count), tps(points, name, count))) for count in users
        ]
        rows.append([name, *map(units.number, speeds), *ahead])
    rows += [
        [name, *["did not start"] * len(users), *[units.UNKNOWN] * len(users)] for name in _dead(run, names)
    ]
    columns = ["server", *(f"tok/s, {n}" for n in users), *(f"ours ÷ it, {n}" for n in users)]
    heavy = users[-1]
    plots.bars(
        f"Output tokens per second at {heavy} users",
        "tokens per second",
        {name: tps(points, name, heavy) for name in names},
        folder / "peers.png",
    )
    text = (
        "Same weights, same requests; all servers are up, and take turns on the whole machine. Plain vLLM "
        f"gets our number format and size of the KV cache. “{VLLM_ALIVE}” also gets the libraries and "
        "instruction sets ours chose for this machine, and is measured where plain vLLM fails. transformers "
        "takes what came within 50 ms as a batch, so that it never waits for a batch to fill; its answers "
        "come when their batch has ended."
    )
    return [
        Section(
            "Ours against its peers", text, [Table("Peers", columns, rows)], [("peers.png", "Throughput.")]
        )
    ]


def _dead(run: Run, measured: Sequence[str]) -> list[str]:
    return [name for name in run.extra().get("failed_subjects") or {} if name not in measured]
