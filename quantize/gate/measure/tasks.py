"""lm-evaluation-harness against a running engine: benchmark tasks by name, for `quantize gate --tasks`.

The harness has an environment of its own (`requirements/eval.in`) and is a subprocess that speaks to the
engine's completions API. Tasks that it knows come with their data sets from the hub; a folder of task
definitions of your own is given with --tasks-dir.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantserve.quantize.gate.measure.config import GateConfig
from quantserve.quantize.gate.measure.errors import TasksFailed

_NOT_METRICS = ("stderr", "alias", "sample_len", "samples")
# What a task is judged by, the first that it has: the figure its leaderboard shows.
_PREFERRED = ("exact_match", "acc_norm", "acc", "f1", "mc2", "bleu")
_LOWER_IS_BETTER = ("perplexity", "bits_per_byte", "ppl")


@dataclass(frozen=True)
class TaskScores:
    """Each task's figures, by metric and filter as the harness names them."""

    scores: dict[str, dict[str, float]]


@dataclass(frozen=True)
class TaskPair:
    """A task's main figure on both; `recovery` is the candidate's share of the base's."""

    task: str
    metric: str
    base: float
    candidate: float

    @property
    def recovery(self) -> float | None:
        """Candidate over base, turned round where lower is better; None when the base scores nothing."""
        worse = any(name in self.metric for name in _LOWER_IS_BETTER)
        above, below = (self.base, self.candidate) if worse else (self.candidate, self.base)
        return above / below if below else None


@dataclass(frozen=True)
class TaskPlan:
    """Which tasks, where their definitions are, how many examples of each."""

    names: tuple[str, ...]
    include: Path | None = None
    limit: int | None = None


def command(
    config: GateConfig, plan: TaskPlan, *, url: str, model: str, tokenizer: Path, output: Path
) -> list[str]:
    """Return the harness's command line for one engine. Pure."""
    settings = {
        "model": model,
        "base_url": f"{url}/v1/completions",
        "tokenizer": str(tokenizer.resolve()),
        "tokenizer_backend": "huggingface",
        "tokenized_requests": "False",
        "num_concurrent": "8",
        "max_retries": "3",
    }
    words = [str(config.eval_python.absolute()), "-m", "lm_eval", "run"]
    words += ["--model", "local-completions"]
    words += ["--model_args", ",".join(f"{key}={value}" for key, value in settings.items())]
    words += ["--tasks", ",".join(plan.names), "--output_path", str(output)]
    if plan.include is not None:
        words += ["--include_path", str(plan.include.resolve())]
    if plan.limit is not None:
        words += ["--limit", str(plan.limit)]
    return words


def parse_results(value: dict[str, Any]) -> TaskScores:
    """Read the harness's results file.

    Raises:
        TasksFailed: there are no results in it.
    """
    found = {
        task: {
            name: float(figure)
            for name, figure in figures.items()
            if isinstance(figure, int | float) and not any(word in name for word in _NOT_METRICS)
        }
        for task, figures in value.get("results", {}).items()
    }
    if not any(found.values()):
        raise TasksFailed("lm-evaluation-harness wrote no figures", mend="See run/gate/tasks.log")
    return TaskScores(found)


def main_metric(figures: dict[str, float]) -> str | None:
    """Return the metric a task is judged by: the usual one, else its first."""
    for wanted in _PREFERRED:
        for name in figures:
            if name.partition(",")[0] == wanted:
                return name
    return next(iter(figures), None)


def compare_tasks(base: TaskScores | None, candidate: TaskScores | None) -> tuple[TaskPair, ...]:
    """Pair the main figures of the tasks that both have."""
    if base is None or candidate is None:
        return ()
    pairs = []
    for task, figures in base.scores.items():
        metric = main_metric(figures)
        if metric is not None and metric in candidate.scores.get(task, {}):
            pairs.append(TaskPair(task, metric, figures[metric], candidate.scores[task][metric]))
    return tuple(pairs)


def mean_recovery(pairs: Sequence[TaskPair]) -> float | None:
    """Return the mean of the recoveries that are known."""
    known = [pair.recovery for pair in pairs if pair.recovery is not None]
    return sum(known) / len(known) if known else None


def run_tasks(config: GateConfig, plan: TaskPlan, *, url: str, model: str, tokenizer: Path) -> TaskScores:
    """Run the tasks on one engine.

    Raises:
        TasksFailed: there is no environment for it, or the harness failed; its log's last line says why.
    """
    if not config.eval_python.exists():
        raise TasksFailed(
            f"there is no evaluation environment at {config.eval_python}",
            mend="Make one: uv venv .venvs/eval && uv pip install --python .venvs/eval --no-deps "
            "-r requirements/eval.txt",
        )
    log = config.run_dir / "gate" / "tasks.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="quantserve-tasks-") as folder, log.open("wb") as stream:
        output = Path(folder)
        words = command(config, plan, url=url, model=model, tokenizer=tokenizer, output=output)
        try:
            ended = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OPENAI_API_KEY": "unused", "TOKENIZERS_PARALLELISM": "false"},
                timeout=config.tasks_timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise TasksFailed(
                f"the tasks took longer than {config.tasks_timeout_s:.0f} s", mend="Give --tasks-limit"
            ) from error
        written = sorted(output.rglob("results*.json"))
        if ended.returncode or not written:
            raise TasksFailed(f"lm-evaluation-harness failed: {_last_line(log)}", mend=f"See {log}")
        return parse_results(json.loads(written[-1].read_text(encoding="utf-8")))


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "it printed nothing")[-300:]
