"""Other instruments: `vllm bench serve` and GuideLLM, run once each in environments of their own.

GuideLLM calls our TPOT inter-token latency (its own TPOT includes the first token).
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quantserve.benchmarks.errors import BenchmarkError
from quantserve.benchmarks.load.plan import Task, Turn
from quantserve.benchmarks.load.synthetic import TokenCounter, text_of
from quantserve.benchmarks.servers import OFFLINE, Server, serving_python
from quantserve.core.stats import needed

Readings = dict[str, float | None]
"""Figures of one run of an instrument; None where it was too short to carry one."""
_TIMEOUT_S = 900.0
_VLLM_BENCH = (
    "import argparse; from vllm.benchmarks.serve import add_cli_args, main; "
    "p = argparse.ArgumentParser(); add_cli_args(p); main(p.parse_args())"
)


@dataclasses.dataclass(frozen=True)
class InstrumentJob:
    """What an instrument is to send, and where."""

    server: Server
    tasks: Sequence[Task]
    """Of one turn each, with a text for /v1/completions."""
    users: int
    counter: TokenCounter
    """The server's tokenizer."""
    tokenizer: str
    """The model's directory: both count tokens themselves."""

    def sharegpt(self) -> str:
        """Conversations whose answers are as long as those to be asked for: vLLM counts their tokens."""
        turns = self._turns()
        answers = {n: text_of(n, 0, self.counter) for n in {turn.max_tokens for turn in turns}}
        talks = [
            {
                "conversations": [
                    {"from": "human", "value": turn.prompt},
                    {"from": "gpt", "value": answers[turn.max_tokens]},
                ]
            }
            for turn in turns
        ]
        return json.dumps(talks)

    def columns(self) -> str:
        """GuideLLM's columns, a JSON line for each request."""
        rows = [
            {
                "prompt": turn.prompt,
                "prompt_tokens_count": turn.prompt_tokens,
                "output_tokens_count": turn.max_tokens,
            }
            for turn in self._turns()
        ]
        return "".join(f"{json.dumps(row)}\n" for row in rows)

    def _turns(self) -> list[Turn]:
        return [task.turns[0] for task in self.tasks]


def vllm_bench(job: InstrumentJob) -> Readings:
    """Run `vllm bench serve` in the serving environment."""
    with tempfile.TemporaryDirectory(prefix="quantserve-bench-") as folder:
        requests = Path(folder) / "requests.json"
        requests.write_text(job.sharegpt(), encoding="utf-8")
        argv = [serving_python(), "-c", _VLLM_BENCH, "--backend", "openai", "--endpoint", "/v1/completions"]
        argv += ["--base-url", job.server.base_url.removesuffix("/v1"), "--model", job.server.model]
        argv += ["--tokenizer", job.tokenizer, "--dataset-name", "sharegpt", "--dataset-path", str(requests)]
        argv += ["--disable-shuffle", "--ignore-eos"]
        argv += ["--num-prompts", str(len(job.tasks)), "--max-concurrency", str(job.users)]
        argv += ["--save-result", "--result-dir", folder, "--result-filename", "r.json", "--disable-tqdm"]
        _run(argv)
        return from_vllm(json.loads((Path(folder) / "r.json").read_text(encoding="utf-8")))


def guidellm(job: InstrumentJob, program: str) -> Readings:
    """Run the GuideLLM at `program`."""
    with tempfile.TemporaryDirectory(prefix="quantserve-bench-") as folder:
        requests = Path(folder) / "requests.jsonl"
        requests.write_text(job.columns(), encoding="utf-8")
        target = job.server.base_url.removesuffix("/v1")
        argv = [program, "run", "--profile", f"kind=concurrent,streams={job.users}"]
        backend = f"kind=openai_http,target={target},model={job.server.model},request_format=/v1/completions"
        argv += ["--backend", backend, "--constraint", f"kind=max_requests,count={len(job.tasks)}"]
        argv += ["--tokenizer", f"kind=huggingface_auto,model={job.tokenizer}"]
        argv += ["--data", f"kind=json_file,path={requests}", "--output", f"kind=json,path={folder}/r.json"]
        # By itself it starts a process for each user, whose imports take the server's processors.
        own = {"GUIDELLM__MAX_WORKER_PROCESSES": "1", "HF_DATASETS_CACHE": f"{folder}/datasets"}
        _run([*argv, "--disable-console"], **own)
        return from_guidellm(json.loads((Path(folder) / "r.json").read_text(encoding="utf-8")))


def from_vllm(value: dict[str, Any]) -> Readings:
    """Read `vllm bench serve --save-result`."""
    enough = value["completed"] >= needed(0.5)
    return {
        "output_tps": value["output_throughput"],
        "ttft_s": value["median_ttft_ms"] / 1000 if enough else None,
        "tpot_s": value["median_tpot_ms"] / 1000 if enough else None,
        "tokens": value["total_output_tokens"],
    }


def from_guidellm(value: dict[str, Any]) -> Readings:
    """Read GuideLLM's JSON report."""
    metrics = value["benchmarks"][0]["metrics"]
    enough = metrics["time_to_first_token_ms"]["successful"]["count"] >= needed(0.5)
    return {
        "output_tps": metrics["output_tokens_per_second"]["successful"]["mean"],
        "ttft_s": metrics["time_to_first_token_ms"]["successful"]["median"] / 1000 if enough else None,
        "tpot_s": metrics["inter_token_latency_ms"]["successful"]["median"] / 1000 if enough else None,
        "tokens": metrics["output_token_count"]["successful"]["total_sum"],
    }


def _run(argv: list[str], **own: str) -> None:
    env = {**os.environ, **OFFLINE, **own}
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, env=env)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchmarkError(f"{argv[0]} did not run ({error})") from error
    if done.returncode != 0:
        raise BenchmarkError(f"{argv[0]} failed: {done.stderr.strip()[-400:]}")
