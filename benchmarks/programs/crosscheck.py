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

from quantserve.benchmarks.load.spec import parse as parse_load
from quantserve.benchmarks.measure import Bench, CellOptions
from quantserve.benchmarks.metrics.compute import point
from quantserve.benchmarks.observe.processes import own_cpu_s
from quantserve.benchmarks.programs.common import RunOptions, begin, cell_seed, finish
from quantserve.benchmarks.programs.instruments import Job, Seen, guidellm, vllm_bench
from quantserve.benchmarks.report import show
from quantserve.benchmarks.servers import Server
from quantserve.benchmarks.store import Run
from quantserve.benchmarks.workload.spec import parse as parse_workload
from quantserve.benchmarks.workload.tokens import Tokenizer
from quantserve.core.console import console
from quantserve.core.report.table import Section, Table

FIGURES = ("output_tps", "ttft_s", "tpot_s")
OURS = "quantserve"


@dataclasses.dataclass(frozen=True)
class CrossOptions:
    """The common load."""

    tokenizer: str
    guidellm: str | None = None
    """Path of the `guidellm` program; None leaves it out."""
    users: int = 8
    requests: int = 48
    workload: str = "synthetic:prompt=32-96,output=16-48"
    """Lengths differ: with one length all users move in step."""


def measure(server: Server, options: RunOptions, how: CrossOptions) -> dict[str, Any]:
    """Let each instrument measure once per repeat and write the report; return the metrics.

    Raises:
        BenchmarkError: an instrument did not run.
    """
    options = options.settled()
    title = f"Other instruments on the same server: {server.model}, {how.users} at once"
    run, bench = begin("crosscheck", title, options, dataclasses.asdict(how))
    tools: dict[str, Callable[[int], Seen]] = {
        OURS: lambda seed: _ours(bench, server, options, how, seed),
        "vllm bench serve": lambda seed: vllm_bench(_job(server, how, seed, 1)),
    }
    if how.guidellm:
        program = how.guidellm
        tools["GuideLLM"] = lambda seed: guidellm(_job(server, how, seed, 2), program)
    seen: dict[str, list[Seen]] = {name: [] for name in tools}
    names = list(tools)
    for repeat in range(options.repeats):
        turn = repeat % len(names)
        for name in [*names[turn:], *names[:turn]]:
            console.print(f"repeat {repeat + 1}: {name}", style="dim")
            before = own_cpu_s(server.pids)
            with bench.watching(f"{name}, repeat {repeat + 1}", server):
                figures = tools[name](cell_seed(options, repeat, 0) % 2**31)
            seen[name].append({**figures, "cpu_s": own_cpu_s(server.pids) - before})
            run.put_extra({"seen": seen})
    return finish(run, sections)


def _ours(bench: Bench, server: Server, options: RunOptions, how: CrossOptions, seed: int) -> Seen:
    cell = CellOptions(
        requests=how.requests,
        seed=seed,
        warmup=2,
        processes=options.processes,
        repeatable=not options.seed_drawn,
    )
    workload, load = parse_workload(how.workload), parse_load(f"closed:{how.users}")
    measured = bench.cell(server, OURS, workload, load, 0, cell)
    figures = point(measured.records)
    return {
        "output_tps": figures["output_tps"],
        "ttft_s": figures["ttft"]["p50"],
        "tpot_s": figures["tpot"]["p50"],
        "tokens": sum(
            record.completion_tokens or 0 for record in measured.records if record.phase == "measure"
        ),
    }


def _job(server: Server, how: CrossOptions, seed: int, wording: int) -> Job:
    """The lengths that ours had with this seed, in words that are not yet in the server's prefix cache."""
    counter = Tokenizer(server.base_url, server.model, server.api_key).count
    tasks = parse_workload(how.workload).tasks(how.requests, seed, counter, wording)
    return Job(server, tasks, how.users, counter, how.tokenizer)


def sections(run: Run, metrics: dict[str, Any], folder: Path) -> list[Section]:
    """Medians over the repeats, and how far the others are from ours."""
    del metrics, folder
    seen: dict[str, list[Seen]] = run.extra().get("seen") or {}
    middle = {
        name: {figure: _middle(rows, figure) for figure in FIGURES} for name, rows in seen.items() if rows
    }
    ours = middle.get(OURS)
    rows = [
        [
            name,
            str(len(seen[name])),
            show.number(_middle(seen[name], "tokens")),
            show.number(values["output_tps"]),
            show.ms(values["ttft_s"]),
            show.ms(values["tpot_s"]),
            show.number(_middle(seen[name], "cpu_s")),
            *(_apart(values[figure], ours[figure]) if ours else show.UNKNOWN for figure in FIGURES),
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


def _middle(rows: Sequence[Seen], figure: str) -> float | None:
    """The median; None where a run was stored before the figure was kept, or was too short to carry it."""
    known = [value for row in rows if (value := row.get(figure)) is not None]
    return statistics.median(known) if known else None


def _apart(value: float | None, ours: float | None) -> str:
    share = show.ratio(value, ours)
    return show.UNKNOWN if share is None else f"{share - 1:+.1%}"
