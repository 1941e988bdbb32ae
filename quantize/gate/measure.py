"""Ask one running engine everything the gate wants to know, over HTTP."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from quantize.gate.answers import QUESTIONS, Answer
from quantize.gate.client import Client
from quantize.gate.config import Measurement
from quantize.gate.engine import Engine
from quantize.gate.errors import BadReply
from quantize.gate.kernel import KernelEvidence, read_evidence
from quantize.gate.scores import Passage, parse_passage

_SPEED_PROMPT_TOKENS = 48
_FIRST_TOKEN_REQUESTS = 3

Prompt = str | list[int]
Tick = Callable[[str], None]
"""Called once for each request that was answered, with what it was for."""


@dataclass(frozen=True)
class Speed:
    """Output speed with `concurrency` requests in flight."""

    concurrency: int
    tokens: int
    seconds: float

    @property
    def tokens_per_s(self) -> float:
        """Output tokens per second of all requests together."""
        return self.tokens / self.seconds


@dataclass(frozen=True)
class Facts:
    """All that was measured on one engine except the log-probabilities; unknown is None."""

    answers: tuple[Answer, ...]
    speeds: tuple[Speed, ...]
    first_token_s: float | None
    """Median time of a request for one token, prompt of 48 tokens, nothing else running."""
    ready_s: float | None
    memory_bytes: int | None
    """Memory of the whole process tree after the measurement, KV cache included."""
    kv_cache_tokens: int | None
    dtype: str | None
    evidence: KernelEvidence
    argv: tuple[str, ...]
    seconds: float
    """Duration of the measurement without the start."""


@dataclass(frozen=True)
class Measured:
    """One engine's facts and its view of the evaluation text."""

    facts: Facts
    passages: tuple[Passage, ...]


def requests_of(measurement: Measurement) -> int:
    """Return how many requests a measurement makes, for the progress bar."""
    return (
        measurement.passages + len(QUESTIONS) + _FIRST_TOKEN_REQUESTS + sum(measurement.speed_concurrencies)
    )


def measure(
    engine: Engine, client: Client, plan: Measurement, prompts: Sequence[Prompt], tick: Tick
) -> Measured:
    """Measure one engine on `prompts`: text for the base, the base's own token ids for the candidate.

    Raises:
        EngineFailed, BadReply: from the client.
    """
    start = time.perf_counter()
    passages = score_passages(client, plan, prompts, tick)
    answers = ask_questions(client, plan, tick)
    first_token_s = _first_token(client, passages, tick)
    speeds = tuple(measure_speed(client, plan, passages, n, tick) for n in plan.speed_concurrencies)
    ready = engine.ready
    facts = Facts(
        answers=answers,
        speeds=speeds,
        first_token_s=first_token_s,
        ready_s=ready.get("ready_s"),
        memory_bytes=engine.memory_bytes(),
        kv_cache_tokens=ready.get("kv_cache_tokens"),
        dtype=engine.dtype,
        evidence=read_evidence(engine.log_text()),
        argv=tuple(str(part) for part in ready.get("argv", ())),
        seconds=time.perf_counter() - start,
    )
    return Measured(facts, passages)


def score_passages(
    client: Client, plan: Measurement, prompts: Sequence[Prompt], tick: Tick
) -> tuple[Passage, ...]:
    """Return each prompt's log-probabilities.

    The engine itself turns text into tokens, so no other tokenizer can disagree with it.
    """

    def one(prompt: Prompt) -> Passage:
        reply = client.completion(
            prompt,
            max_tokens=1,
            prompt_logprobs=plan.top_k,
            return_token_ids=True,
            truncate_prompt_tokens=plan.max_passage_tokens,
            truncation_side="right",
        )
        choice = reply["choices"][0]
        ids = choice.get("prompt_token_ids") if isinstance(prompt, str) else prompt
        if not isinstance(ids, list) or len(ids) < 2:
            raise BadReply("the engine did not say which tokens it read")
        passage = parse_passage(choice, ids, plan.top_k)
        tick("held-out text")
        return passage

    with ThreadPoolExecutor(plan.concurrency) as pool:
        return tuple(pool.map(one, prompts))


def ask_questions(client: Client, plan: Measurement, tick: Tick) -> tuple[Answer, ...]:
    """Return the greedy answer to each of the eight questions, asked at once."""

    def one(question: str) -> Answer:
        reply = client.chat(question, max_tokens=plan.max_answer_tokens, return_token_ids=True)
        choice = reply["choices"][0]
        ids = reply.get("prompt_token_ids")
        try:
            answer = Answer(
                question=question,
                text=choice["message"]["content"] or "",
                finish_reason=choice["finish_reason"],
                tokens=int(reply["usage"]["completion_tokens"]),
                prompt_ids=tuple(ids) if ids else None,
            )
        except (KeyError, TypeError) as error:
            raise BadReply(f"the engine's chat answer lacks {error}") from error
        tick("chat answers")
        return answer

    with ThreadPoolExecutor(len(QUESTIONS)) as pool:
        return tuple(pool.map(one, QUESTIONS))


def measure_speed(
    client: Client, plan: Measurement, passages: Sequence[Passage], concurrency: int, tick: Tick
) -> Speed:
    """Return the output speed; each request decodes exactly `speed_tokens`, counted by the server."""

    def one(number: int) -> int:
        passage = passages[number % len(passages)]
        reply = client.completion(
            passage.ids[:_SPEED_PROMPT_TOKENS].tolist(), max_tokens=plan.speed_tokens, ignore_eos=True
        )
        tick(f"speed at {concurrency}")
        return _output_tokens(reply.get("usage"))

    with ThreadPoolExecutor(concurrency) as pool:
        start = time.perf_counter()
        tokens = sum(pool.map(one, range(concurrency)))
        seconds = time.perf_counter() - start
    return Speed(concurrency, tokens, seconds)


def _output_tokens(usage: object) -> int:
    if not isinstance(usage, dict) or not isinstance(usage.get("completion_tokens"), int):
        raise BadReply("the engine did not say how many tokens it made")
    return int(usage["completion_tokens"])


def _first_token(client: Client, passages: Sequence[Passage], tick: Tick) -> float:
    times = []
    for number in range(_FIRST_TOKEN_REQUESTS):
        # Another part of the passage than before, so that the prefix cache does not know it.
        ids = passages[number % len(passages)].ids[-_SPEED_PROMPT_TOKENS:].tolist()
        start = time.perf_counter()
        client.completion(ids, max_tokens=1)
        times.append(time.perf_counter() - start)
        tick("first token")
    return statistics.median(times)
