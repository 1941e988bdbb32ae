"""Ask one running engine everything the gate wants to know of its predictions and answers, over HTTP."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from quantserve.quantize.gate.answers import Answer
from quantserve.quantize.gate.client import Client
from quantserve.quantize.gate.config import Measurement
from quantserve.quantize.gate.engine import Engine
from quantserve.quantize.gate.errors import BadReply
from quantserve.quantize.gate.kernel import KernelEvidence, read_evidence
from quantserve.quantize.gate.scores import Passage, parse_passage
from quantserve.quantize.gate.speed import Round, Tick


@dataclass(frozen=True)
class Prompt:
    """Held-out text for the base, the base's own token ids for the candidate."""

    content: str | list[int]
    max_tokens: int


@dataclass(frozen=True)
class Said:
    """What an engine answered."""

    answers: tuple[Answer, ...]
    tool_calls: tuple[Answer, ...]
    seconds: float
    """How long asking took, the held-out text included."""
    facts: tuple[Answer, ...] = ()
    """To the short prompts with a checkable answer."""


@dataclass(frozen=True)
class View:
    """One model's answers and its view of the evaluation text: the same whenever it is measured."""

    said: Said
    passages: tuple[Passage, ...]


@dataclass(frozen=True)
class Cost:
    """What one engine cost this time; unknown is None."""

    rounds: tuple[Round, ...]
    ready_s: float | None
    memory_bytes: int | None
    """Resident memory of the whole process tree after the measurement, KV cache as far as written."""
    kv_cache_tokens: int | None
    dtype: str | None
    evidence: KernelEvidence
    argv: tuple[str, ...]


def look(
    client: Client,
    plan: Measurement,
    prompts: Sequence[Prompt],
    questions: Sequence[str],
    tool_questions: Sequence[str],
    fact_questions: Sequence[str],
    tick: Tick,
) -> View:
    """Measure one engine's quality.

    Raises:
        EngineFailed, BadReply: from the client.
    """
    start = time.perf_counter()
    passages = score_passages(client, plan, prompts, tick)
    asked = [(question, plan.max_answer_tokens) for question in questions]
    answers = ask(client, [*asked, *((call, plan.max_call_tokens) for call in tool_questions)], tick)
    facts = ask_facts(client, plan, fact_questions, tick)
    seconds = time.perf_counter() - start
    return View(Said(answers[: len(questions)], answers[len(questions) :], seconds, facts), passages)


def look_again(
    client: Client, plan: Measurement, questions: Sequence[str], fact_questions: Sequence[str], tick: Tick
) -> Said:
    """Ask only what has an answer: of the base in float32, to see what rounding to 16 bits alone changes.

    Raises:
        EngineFailed, BadReply: from the client.
    """
    start = time.perf_counter()
    answers = ask(client, [(question, plan.max_answer_tokens) for question in questions], tick)
    facts = ask_facts(client, plan, fact_questions, tick)
    return Said(answers, (), time.perf_counter() - start, facts)


def cost(engine: Engine, rounds: Sequence[Round]) -> Cost:
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
    client: Client, plan: Measurement, prompts: Sequence[Prompt], tick: Tick
) -> tuple[Passage, ...]:
    """Return each prompt's log-probabilities.

    The engine itself turns text into tokens, so no other tokenizer can disagree with it.
    """

    def one(prompt: Prompt) -> Passage:
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


def ask_facts(client: Client, plan: Measurement, questions: Sequence[str], tick: Tick) -> tuple[Answer, ...]:
    """Return the greedy, short answers to prompts whose answer can be checked."""
    asked = [(question, plan.max_fact_tokens) for question in questions]
    return ask(client, asked, tick, plan.fact_concurrency, "short prompts")


def ask(
    client: Client,
    questions: Sequence[tuple[str, int]],
    tick: Tick,
    concurrency: int | None = None,
    what: str = "chat answers",
) -> tuple[Answer, ...]:
    """Return the greedy answer to each question and most tokens it may take; None: all asked at once."""
    if not questions:
        return ()

    def one(asked: tuple[str, int]) -> Answer:
        question, max_tokens = asked
        reply = client.chat(question, max_tokens=max_tokens, return_token_ids=True)
        choice = reply["choices"][0]
        ids = reply.get("prompt_token_ids")
        try:
            answer = Answer(
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
