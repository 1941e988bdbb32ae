"""Do other instruments see the same? Ours, vLLM's own benchmark and GuideLLM in turns on one server.

    python -m benchmarks crosscheck --base-url http://127.0.0.1:8000/v1 --guidellm PATH

The others run in environments of their own: `vllm bench serve` in the serving environment, GuideLLM
wherever it is installed. All ask for the same number of prompt and output tokens at the same concurrency.
GuideLLM calls our TPOT inter-token latency (its own TPOT includes the first token).
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.errors import BenchmarkError
from benchmarks.load.spec import parse as parse_load
from benchmarks.measure import Bench, CellOptions
from benchmarks.metrics.compute import point
from benchmarks.observe.processes import own_cpu_s
from benchmarks.programs.common import RunOptions, begin, cell_seed, finish
from benchmarks.report import show
from benchmarks.report.table import Section, Table
from benchmarks.servers import Server, serving_python
from benchmarks.store import Run
from benchmarks.workload.spec import parse as parse_workload
from core.console import console

FIGURES = ("output_tps", "ttft_s", "tpot_s")
_VLLM_BENCH = (
    "import argparse; from vllm.benchmarks.serve import add_cli_args, main; "
    "p = argparse.ArgumentParser(); add_cli_args(p); main(p.parse_args())"
)


@dataclasses.dataclass(frozen=True)
class CrossOptions:
    """The common load."""

    tokenizer: str
    guidellm: str | None = None
    """Path of the `guidellm` program; None leaves it out."""
    users: int = 8
    requests: int = 48
    prompt_tokens: int = 64
    output_tokens: int = 32
    spread: float = 0.5
    """Lengths differ by up to this share: with one length all users move in step."""
    timeout_s: float = 900.0

    def ranges(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the least and most tokens of prompts, and of answers."""
        prompt, output = (
            (round(tokens * (1 - self.spread)), round(tokens * (1 + self.spread)))
            for tokens in (self.prompt_tokens, self.output_tokens)
        )
        return prompt, output


Seen = dict[str, float]


def from_vllm(value: dict[str, Any]) -> Seen:
    """Read `vllm bench serve --save-result`."""
    return {
        "output_tps": value["output_throughput"],
        "ttft_s": value["median_ttft_ms"] / 1000,
        "tpot_s": value["median_tpot_ms"] / 1000,
    }


def from_guidellm(value: dict[str, Any]) -> Seen:
    """Read GuideLLM's JSON report."""
    metrics = value["benchmarks"][0]["metrics"]
    return {
        "output_tps": metrics["output_tokens_per_second"]["successful"]["mean"],
        "ttft_s": metrics["time_to_first_token_ms"]["successful"]["median"] / 1000,
        "tpot_s": metrics["inter_token_latency_ms"]["successful"]["median"] / 1000,
    }


def measure(server: Server, options: RunOptions, how: CrossOptions) -> dict[str, Any]:
    """Let each instrument measure once per repeat and write the report; return the metrics.

    Raises:
        BenchmarkError: an instrument did not run.
    """
    options = options.settled()
    run, bench = begin("crosscheck", "Other instruments on the same server", options, dataclasses.asdict(how))
    tools: dict[str, Callable[[int], Seen]] = {"quantserve": lambda n: _ours(bench, server, options, how, n)}
    tools["vllm bench serve"] = lambda n: _vllm(server, how, n)
    if how.guidellm:
        tools["GuideLLM"] = lambda n: _guidellm(server, how, n)
    seen: dict[str, list[Seen]] = {name: [] for name in tools}
    names = list(tools)
    for repeat in range(options.repeats):
        turn = repeat % len(names)
        for name in [*names[turn:], *names[:turn]]:
            console.print(f"repeat {repeat + 1}: {name}", style="dim")
            before = own_cpu_s(server.pid)
            figures = tools[name](cell_seed(options, repeat, 0) % 2**31)
            seen[name].append({**figures, "cpu_s": own_cpu_s(server.pid) - before})
            run.put_extra({"seen": seen})
    return finish(run, sections)


def _ours(bench: Bench, server: Server, options: RunOptions, how: CrossOptions, seed: int) -> Seen:
    (low, high), (least, most) = how.ranges()
    workload = parse_workload(f"synthetic:prompt={low}-{high},output={least}-{most}")
    cell = CellOptions(requests=how.requests, seed=seed, warmup=2, processes=options.processes)
    measured = bench.cell(server, "quantserve", workload, parse_load(f"closed:{how.users}"), 0, cell)
    figures = point(measured.records)
    return {
        "output_tps": figures["output_tps"],
        "ttft_s": figures["ttft"]["p50"],
        "tpot_s": figures["tpot"]["p50"],
    }


def _vllm(server: Server, how: CrossOptions, seed: int) -> Seen:
    with tempfile.TemporaryDirectory(prefix="quantserve-bench-") as folder:
        argv = [serving_python(), "-c", _VLLM_BENCH, "--backend", "openai", "--endpoint", "/v1/completions"]
        argv += ["--base-url", server.base_url.removesuffix("/v1"), "--model", server.model]
        argv += ["--tokenizer", how.tokenizer, "--dataset-name", "random", "--seed", str(seed % 2**31)]
        argv += ["--random-input-len", str(how.prompt_tokens), "--random-output-len", str(how.output_tokens)]
        argv += ["--random-range-ratio", str(how.spread)]
        argv += ["--num-prompts", str(how.requests), "--max-concurrency", str(how.users), "--ignore-eos"]
        argv += ["--save-result", "--result-dir", folder, "--result-filename", "r.json", "--disable-tqdm"]
        _run(argv, how.timeout_s)
        return from_vllm(json.loads((Path(folder) / "r.json").read_text(encoding="utf-8")))


def _guidellm(server: Server, how: CrossOptions, seed: int) -> Seen:
    with tempfile.TemporaryDirectory(prefix="quantserve-bench-") as folder:
        target = server.base_url.removesuffix("/v1")
        (low, high), (least, most) = how.ranges()
        data = f"kind=synthetic_text,prompt_tokens={how.prompt_tokens},output_tokens={how.output_tokens}"
        data += f",prompt_tokens_min={low},prompt_tokens_max={high}"
        data += f",output_tokens_min={least},output_tokens_max={most}"
        argv = [str(how.guidellm), "run", "--profile", f"kind=concurrent,streams={how.users}"]
        backend = f"kind=openai_http,target={target},model={server.model},request_format=/v1/completions"
        argv += ["--backend", backend, "--constraint", f"kind=max_requests,count={how.requests}"]
        argv += ["--tokenizer", f"kind=huggingface_auto,model={how.tokenizer}", "--data", data]
        argv += ["--seed", f"kind=static,value={seed}", "--output", f"kind=json,path={folder}/r.json"]
        # By itself it starts a process for each user, whose imports take the server's processors.
        _run([*argv, "--disable-console"], how.timeout_s, GUIDELLM__MAX_WORKER_PROCESSES="1")
        return from_guidellm(json.loads((Path(folder) / "r.json").read_text(encoding="utf-8")))


def _run(argv: list[str], timeout_s: float, **own: str) -> None:
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", **own}
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False, env=env)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchmarkError(f"{argv[0]} did not run ({error})") from error
    if done.returncode != 0:
        raise BenchmarkError(f"{argv[0]} failed: {done.stderr.strip()[-400:]}")


def sections(run: Run, metrics: dict[str, Any], folder: Path) -> list[Section]:
    """Medians over the repeats, and how far the others are from ours."""
    del metrics, folder
    seen: dict[str, list[Seen]] = run.extra().get("seen") or {}
    middle = {
        name: {figure: statistics.median(row[figure] for row in rows) for figure in FIGURES}
        for name, rows in seen.items()
        if rows
    }
    ours = middle.get("quantserve")
    rows = [
        [
            name,
            str(len(seen[name])),
            show.number(values["output_tps"]),
            show.ms(values["ttft_s"]),
            show.ms(values["tpot_s"]),
            show.number(_cpu_s(seen[name])),
            *(_apart(values[figure], ours[figure]) if ours else show.UNKNOWN for figure in FIGURES),
        ]
        for name, values in middle.items()
    ]
    columns = [
        "instrument",
        "runs",
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


def _cpu_s(rows: Sequence[Seen]) -> float | None:
    """Unknown of runs that were stored before it was measured."""
    known = [row["cpu_s"] for row in rows if "cpu_s" in row]
    return statistics.median(known) if known else None


def _apart(value: float, ours: float) -> str:
    return f"{value / ours - 1:+.1%}" if ours else show.UNKNOWN
