"""How the gate measures. What must be reached is in thresholds.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from quantserve.core.home import python_of
from quantserve.quantize.config import MODELS_DIR, RUN_DIR


@dataclass(frozen=True)
class Measurement:
    """What is asked of each engine. A change makes older reports and cached figures stale."""

    passages: int = 28
    """Passages of held-out text in the languages the model reads, about 4,500 tokens in all; also the
    units that the bootstrap resamples."""
    max_passage_tokens: int = 384
    """Of a longer passage only the beginning is used, for tokenizers that need a token per character or more;
    it fits the shortest context of any model worth serving."""
    reported_passages: int = 6
    """Passages in each language that the model was not made for: reported, not judged."""
    max_reported_tokens: int = 160
    """Of each of those only the beginning, since such a tokenizer spells the language in bytes."""
    top_k: int = 20
    """Tokens with log-probabilities per position: the most vLLM gives by default (--max-logprobs)."""
    concurrency: int = 1
    """Passages in flight together. One at a time gives the same figures every time; batched, sums come
    in another order, which in bfloat16 alone moved 1.7 % of the top tokens of a 135M model."""
    max_answer_tokens: int = 192
    """A chat answer must end by itself before this. The prompts ask for a sentence or a short list."""
    max_call_tokens: int = 96
    """Of the answer to a request that calls for a tool; with the request itself it fits a context of 512."""
    facts: int | None = None
    """Short prompts with a checkable answer to ask, evenly from the verdict's set; None: all of the
    languages that are judged."""
    max_fact_tokens: int = 32
    """Of the answer to one of those: what is not said by then counts as not said."""
    fact_concurrency: int = 32
    """Short prompts in flight together: what a batch changes is in the noise floor, as it is in service."""
    float32: bool = True
    """Ask the base in float32 too, for the noise floor; not where it is served in float32 anyway."""
    speed_concurrencies: tuple[int, ...] = (1, 8, 32)
    """How many requests at once the speed is measured with."""
    speed_tokens: int = 32
    """Output tokens of each of those requests."""
    speed_rounds: int = 2
    """Rounds of the cost measurement for each engine: base, candidate, candidate, base, or mirrored."""
    first_token_requests: int = 3
    """Requests for one token in each round."""
    bootstrap_samples: int = 2000
    """Resamples for the 95 % confidence intervals."""


EVAL_PYTHON = python_of("eval")


@dataclass(frozen=True)
class GateConfig:
    """Where and how the gate runs.

    measurement: what is asked of each engine.
    serving_python: interpreter of the serving environment.
    models_dir: where base checkpoints are looked for by name.
    run_dir: where logs (gate), cached measurements (gate-cache) and the lock are.
    ready_timeout_s: an engine that is not ready by then counts as failed; large models load slowly.
    request_timeout_s: for one request; two cores need a while for thirty-two answers at once.
    eval_python: interpreter of the environment with lm-evaluation-harness, for --tasks.
    tasks_timeout_s: for all tasks on one engine.
    stop_timeout_s: from SIGTERM to SIGKILL.
    """

    measurement: Measurement = field(default_factory=Measurement)
    serving_python: Path = field(default_factory=lambda: python_of("serving"))
    models_dir: Path = MODELS_DIR
    run_dir: Path = RUN_DIR
    ready_timeout_s: float = 900.0
    request_timeout_s: float = 600.0
    eval_python: Path = EVAL_PYTHON
    tasks_timeout_s: float = 6 * 3600.0
    stop_timeout_s: float = 45.0
