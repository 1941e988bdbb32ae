"""Ask one running engine over HTTP: its predictions, its answers, and how fast it gives them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from quantserve.core.speed import SpeedPair
from quantserve.quantize.gate.facts.answers import ChatAnswer
from quantserve.quantize.gate.measure.client import Client
from quantserve.quantize.gate.measure.config import Measurement
from quantserve.quantize.gate.measure.engine import KernelEvidence, MeasuredEngine, read_evidence
from quantserve.quantize.gate.measure.errors import BadReply
from quantserve.quantize.gate.measure.figures import ScoredPassage, parse_passage

_PROMPT_TOKENS = 48
Tick = Callable[[str], None]
"""Called once for each request that was answered, with what it was for."""


@dataclass(frozen=True)
class OutputSpeed:
    """Output speed with `concurrency` requests in flight, in one round."""

    concurrency: int
    tokens: int
    seconds: float

    @property
    def tokens_per_s(self) -> float:
        """Output tokens per second of all requests together."""
        return self.tokens / self.seconds


@dataclass(frozen=True)
class SpeedRound:
    """One turn of one engine."""

    speeds: tuple[OutputSpeed, ...]
    first_token_s: tuple[float, ...]
    """Times of requests for one token, nothing else running."""


def requests_of(plan: Measurement) -> int:
    """Return how many requests a round makes."""
    return sum(plan.speed_concurrencies) + plan.first_token_requests


def measure_round(
    client: Client, plan: Measurement, prompts: Sequence[Sequence[int]], number: int, tick: Tick
) -> SpeedRound:
    """Take one turn. `number` of the round chooses prompts that the engine's prefix cache does not know."""
    first = _first_tokens(client, plan, prompts, number, tick)
    speeds = tuple(_speed(client, plan, prompts, at, number, tick) for at in plan.speed_concurrencies)
    return SpeedRound(speeds, first)


def totals(rounds: Sequence[SpeedRound]) -> tuple[OutputSpeed, ...]:
    """Return each concurrency's tokens and seconds over all rounds."""
    return tuple(
        OutputSpeed(same[0].concurrency, sum(s.tokens for s in same), sum(s.seconds for s in same))
        for same in zip(*(one.speeds for one in rounds), strict=True)
    )


def speed_pairs(base: Sequence[SpeedRound], candidate: Sequence[SpeedRound]) -> tuple[SpeedPair, ...]:
    """Put both engines' rounds side by side, with the spread of the ratio from round to round."""
    found = []
    for number, (one, other) in enumerate(zip(totals(base), totals(candidate), strict=True)):
        ratios = [
            b.speeds[number].tokens_per_s / a.speeds[number].tokens_per_s
            for a, b in zip(base, candidate, strict=True)
        ]
        several = len(ratios) > 1
        found.append(
            SpeedPair(
                one.concurrency,
                one.tokens_per_s,
                other.tokens_per_s,
                min(ratios) if several else None,
                max(ratios) if several else None,
            )
        )
    return tuple(found)


def _prompt(prompts: Sequence[Sequence[int]], number: int, offset: int) -> list[int]:
    ids = list(prompts[number % len(prompts)])
    return ids[offset : offset + _PROMPT_TOKENS] or ids


def _speed(
    client: Client, plan: Measurement, prompts: Sequence[Sequence[int]], at: int, number: int, tick: Tick
) -> OutputSpeed:
    """Decode exactly `speed_tokens` in each of `at` requests at once, counted by the server."""

    def one(index: int) -> int:
        # A prompt of its own for each request: what a prefix cache saves is not what is measured.
        prompt = _prompt(prompts, index, 2 * (index // len(prompts)) + number + at)
        reply = client.completion(prompt, max_tokens=plan.speed_tokens, ignore_eos=True)
        tick(f"speed at {at}")
        return output_tokens(reply.get("usage"))

    with ThreadPoolExecutor(at) as pool:
        start = time.perf_counter()
        tokens = sum(pool.map(one, range(at)))
        seconds = time.perf_counter() - start
    return OutputSpeed(at, tokens, seconds)


def output_tokens(usage: object) -> int:
    """Return how many tokens the server says it made.

    Raises:
        BadReply: it does not say.
    """
    if not isinstance(usage, dict) or not isinstance(usage.get("completion_tokens"), int):
        raise BadReply("the engine did not say how many tokens it made")
    return int(usage["completion_tokens"])


def _first_tokens(
    client: Client, plan: Measurement, prompts: Sequence[Sequence[int]], number: int, tick: Tick
) -> tuple[float, ...]:
    times = []
    for index in range(plan.first_token_requests):
        ids = list(prompts[(index + number * plan.first_token_requests) % len(prompts)])[-_PROMPT_TOKENS:]
        start = time.perf_counter()
        client.completion(ids, max_tokens=1)
        times.append(time.perf_counter() - start)
        tick("first token")
    return tuple(times)


@dataclass(frozen=True)
class EvaluationPrompt:
    """Held-out text for the base, the base's own token ids for the candidate."""

    content: str | list[int]
    max_tokens: int


@dataclass(frozen=True)
class EngineReplies:
    """What an engine answered."""

    answers: tuple[ChatAnswer, ...]
    tool_calls: tuple[ChatAnswer, ...]
    seconds: float
    """How long asking took, the held-out text included."""
    facts: tuple[ChatAnswer, ...] = ()
    """To the short prompts with a checkable answer."""


@dataclass(frozen=True)
class ModelView:
    """One model's answers and its view of the evaluation text: the same whenever it is measured."""

    replies: EngineReplies
    passages: tuple[ScoredPassage, ...]


@dataclass(frozen=True)
class Cost:
    """What one engine cost this time; unknown is None."""

    rounds: tuple[SpeedRound, ...]
    ready_s: float | None
    memory_bytes: int | None
    """Resident memory of the whole process tree after the measurement, KV cache as far as written."""
    kv_cache_tokens: int | None
    dtype: str | None
    evidence: KernelEvidence
    argv: tuple[str, ...]


def measure_quality(
    client: Client,
    plan: Measurement,
    prompts: Sequence[EvaluationPrompt],
    questions: Sequence[str],
    tool_questions: Sequence[str],
    fact_questions: Sequence[str],
    tick: Tick,
) -> ModelView:
    """Measure one engine's quality.

    Raises:
        EngineFailed, BadReply: from the client.
    """
    start = time.perf_counter()
    passages = score_passages(client, plan, prompts, tick)
    asked = [(question, plan.max_answer_tokens) for question in questions]
    answers = ask_chats(client, [*asked, *((call, plan.max_call_tokens) for call in tool_questions)], tick)
    facts = ask_facts(client, plan, fact_questions, tick)
    seconds = time.perf_counter() - start
    return ModelView(
        EngineReplies(answers[: len(questions)], answers[len(questions) :], seconds, facts), passages
    )


def ask_reference(
    client: Client, plan: Measurement, questions: Sequence[str], fact_questions: Sequence[str], tick: Tick
) -> EngineReplies:
    """Ask only what has an answer: of the base in float32, to see what rounding to 16 bits alone changes.

    Raises:
        EngineFailed, BadReply: from the client.
    """
    start = time.perf_counter()
    answers = ask_chats(client, [(question, plan.max_answer_tokens) for question in questions], tick)
    facts = ask_facts(client, plan, fact_questions, tick)
    return EngineReplies(answers, (), time.perf_counter() - start, facts)


def engine_cost(engine: MeasuredEngine, rounds: Sequence[SpeedRound]) -> Cost:
    """Collect what an engine cost; ask while it is up."""
    ready = engine.ready
    return Cost(
        rounds=tuple(rounds),
        ready_s=ready.get("ready_s"),
        memory_bytes=engine.memory_bytes(),
        kv_cache_tokens=ready.get("kv_cache_tokens"),
        dtype=engine.dtype,
        evidence=read_evidence(engine.log_text()),
        argv=tuple(str(part) for part in ready.get("argv", ())),
    )


def score_passages(
    client: Client, plan: Measurement, prompts: Sequence[EvaluationPrompt], tick: Tick
) -> tuple[ScoredPassage, ...]:
    """Return each prompt's log-probabilities.

    The engine itself turns text into tokens, so no other tokenizer can disagree with it.
    """

    def one(prompt: EvaluationPrompt) -> ScoredPassage:
        reply = client.completion(
            prompt.content,
            max_tokens=1,
            prompt_logprobs=plan.top_k,
            return_token_ids=True,
            truncate_prompt_tokens=prompt.max_tokens,
            truncation_side="right",
        )
        choice = reply["choices"][0]
        ids = choice.get("prompt_token_ids") if isinstance(prompt.content, str) else prompt.content
        if not isinstance(ids, list) or len(ids) < 2:
            raise BadReply("the engine did not say which tokens it read")
        passage = parse_passage(choice, ids, plan.top_k)
        tick("held-out text")
        return passage

    with ThreadPoolExecutor(plan.concurrency) as pool:
        return tuple(pool.map(one, prompts))


def ask_facts(
    client: Client, plan: Measurement, questions: Sequence[str], tick: Tick
) -> tuple[ChatAnswer, ...]:
    """Return the greedy, short answers to prompts whose answer can be checked."""
    asked = [(question, plan.max_fact_tokens) for question in questions]
    return ask_chats(client, asked, tick, plan.fact_concurrency, "short prompts")


def ask_chats(
    client: Client,
    questions: Sequence[tuple[str, int]],
    tick: Tick,
    concurrency: int | None = None,
    what: str = "chat answers",
) -> tuple[ChatAnswer, ...]:
    """Return the greedy answer to each question and most tokens it may take; None: all asked at once."""
    if not questions:
        return ()

    def one(asked: tuple[str, int]) -> ChatAnswer:
        question, max_tokens = asked
        reply = client.chat(question, max_tokens=max_tokens, return_token_ids=True)
        choice = reply["choices"][0]
        ids = reply.get("prompt_token_ids")
        try:
            answer = ChatAnswer(
                question=question,
                text=choice["message"]["content"] or "",
                finish_reason=choice["finish_reason"],
                tokens=int(reply["usage"]["completion_tokens"]),
                prompt_ids=tuple(ids) if ids else None,
                ids=tuple(choice["token_ids"]) if choice.get("token_ids") else None,
            )
        except (KeyError, TypeError) as error:
            raise BadReply(f"the engine's chat answer lacks {error}") from error
        tick(what)
        return answer

    with ThreadPoolExecutor(concurrency or len(questions)) as pool:
        return tuple(pool.map(one, questions))
