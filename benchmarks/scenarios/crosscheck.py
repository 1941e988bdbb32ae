"""Do other instruments see the same? Ours, vLLM's own benchmark and GuideLLM in turns on one server.

    quantserve benchmarks crosscheck --base-url http://127.0.0.1:8000/v1 --guidellm PATH

In each turn all send requests of the same lengths in the same order, each instrument in its own words, so
that none finds in the prefix cache what another sent. The others run in environments of their own:
`vllm bench serve` in the serving environment, GuideLLM wherever it is installed.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from quantserve.benchmarks.load.arrivals import closed
from quantserve.benchmarks.load.synthetic import Tokenizer
from quantserve.benchmarks.load.workload import parse_workload
from quantserve.benchmarks.measure.bench import Bench, CellOptions, ScenarioOptions, begin
from quantserve.benchmarks.measure.metrics import point
from quantserve.benchmarks.measure.store import Run
from quantserve.benchmarks.peers.instruments import InstrumentJob, Readings, guidellm, vllm_bench
from quantserve.benchmarks.processes import own_cpu_s
from quantserve.benchmarks.report import units
from quantserve.benchmarks.report.outcome import finish
from quantserve.benchmarks.servers import Server
from quantserve.core.console import console
from quantserve.core.report.table import Section, Table

FIGURES = ("output_tps", "ttft_s", "tpot_s")
OURS = "quantserve"


@dataclasses.dataclass(frozen=True)
class CrosscheckOptions:
    """The common load."""

    tokenizer: str
    guidellm: str | None = None
    """Path of the `guidellm` program; None leaves it out."""
    users: int = 8
    requests: int = 48
    workload: str = "synthetic:prompt=32-96,output=16-48"
    """Lengths differ: with one length all users move in step."""


def measure(server: Server, options: ScenarioOptions, how: CrosscheckOptions) -> dict[str, Any]:
    """Let each instrument measure once per repeat and write the report; return the metrics.

    Raises:
        BenchmarkError: an instrument did not run.
    """
    title = f"Other instruments on the same server: {server.model}, {how.users} at once"
    bench = begin("crosscheck", title, options, dataclasses.asdict(how))
    tools: dict[str, Callable[[int], Readings]] = {
        OURS: lambda seed: _ours(bench, server, how, seed),
        "vllm bench serve": lambda seed: vllm_bench(_job(server, how, seed, 1)),
    }
    if how.guidellm:
        program = how.guidellm
        tools["GuideLLM"] = lambda seed: guidellm(_job(server, how, seed, 2), program)
    seen: dict[str, list[Readings]] = {name: [] for name in tools}
    names = list(tools)
    for repeat in range(options.repeats):
        turn = repeat % len(names)
        for name in [*names[turn:], *names[:turn]]:
            console.print(f"repeat {repeat + 1}: {name}", style="dim")
            before = own_cpu_s(server.pids)
            with bench.watching(f"{name}, repeat {repeat + 1}", server):
                figures = tools[name](bench.seed(repeat, 0) % 2**31)
            seen[name].append({**figures, "cpu_s": own_cpu_s(server.pids) - before})
            bench.run.put_extra({"seen": seen})
    return finish(bench.run, sections)


def _ours(bench: Bench, server: Server, how: CrosscheckOptions, seed: int) -> Readings:
    cell = CellOptions(how.requests, seed=seed, warmup=2)
    measured = bench.cell(server, OURS, parse_workload(how.workload), closed(how.users), 0, cell)
    figures = point(measured.records)
    return {
        "output_tps": figures["output_tps"],
        "ttft_s": figures["ttft"]["p50"],
        "tpot_s": figures["tpot"]["p50"],
        "tokens": sum(
            record.completion_tokens or 0 for record in measured.records if record.phase == "measure"
        ),
    }


def _job(server: Server, how: CrosscheckOptions, seed: int, wording: int) -> InstrumentJob:
    """The lengths that ours had with this seed, in words that are not yet in the server's prefix cache."""
    counter = Tokenizer(server.base_url, server.model, server.api_key).count
    tasks = parse_workload(how.workload).tasks(how.requests, seed, counter, wording)
    return InstrumentJob(server, tasks, how.users, counter, how.tokenizer)


def sections(run: Run, metrics: dict[str, Any], folder: Path) -> list[Section]:
    """Medians over the repeats, and how far the others are from ours."""
    del metrics, folder
    seen: dict[str, list[Readings]] = run.extra().get("seen") or {}
    middle = {
        name: {figure: _middle(rows, figure) for figure in FIGURES} for name, rows in seen.items() if rows
    }
    ours = middle.get(OURS)
    rows = [
        [
            name,
            str(len(seen[name])),
            units.number(_middle(seen[name], "tokens")),
            units.number(values["output_tps"]),
            units.ms(values["ttft_s"]),
            units.ms(values["tpot_s"]),
            units.number(_middle(seen[name], "cpu_s")),
            *(_apart(values[figure], ours[figure]) if ours else units.UNKNOWN for figure in FIGURES),
        ]
        for name, values in middle.items()
    ]
    columns = [
        "instrument",
        "runs",
        "tokens a run",
        "output tok/s",
        "TTFT p50 ms",
        "TPOT p50 ms",
        "its CPU s",
        "Δ tok/s",
        "Δ TTFT",
        "Δ TPOT",
    ]
    text = (
        "Medians over the runs; Δ is the distance from ours. The instruments took turns. An instrument that "
        "shares the processors with the server takes from it what it computes itself (its start included)."
    )
    return [Section("Instruments", text, [Table("Instruments", columns, rows)])] if rows else []


def _middle(rows: Sequence[Readings], figure: str) -> float | None:
    """The median; None where a run was stored before the figure was, or was too short to carry it."""
    known = [value for row in rows if (value := row.get(figure)) is not None]
    return statistics.median(known) if known else None


def _apart(value: float | None, ours: float | None) -> str:
    share = units.ratio(value, ours)
    return units.UNKNOWN if share is None else f"{share - 1:+.1%}"
