"""Score a model on the tuning set, for whoever searches a recipe. The verdict's set is not reachable here.

from quantserve.quantize.gate.tuning import endpoint, score
score(endpoint("http://127.0.0.1:8000", "SmolLM2-135M-Instruct"), ["en"]).right
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from quantserve.quantize.gate.facts import Fact, facts
from quantserve.quantize.gate.facts.checking import is_right
from quantserve.quantize.gate.measure.client import Client

MAX_TOKENS = 32
"""Most tokens of an answer, as the gate asks: what is not said by then counts as not said."""
Ask = Callable[[Sequence[str]], Sequence[str]]
"""Turns user messages into answers, each greedy and of at most MAX_TOKENS tokens, in their order."""


@dataclass(frozen=True)
class FactScore:
    """Each prompt with its answer and whether it is right."""

    marks: tuple[tuple[Fact, str, bool], ...]

    @property
    def right(self) -> int:
        """How many answers are right."""
        return sum(mark for _, _, mark in self.marks)

    @property
    def prompts(self) -> int:
        """How many prompts were asked."""
        return len(self.marks)

    def lost(self, base: FactScore) -> tuple[Fact, ...]:
        """Return what the base answers rightly and this model does not."""
        return tuple(
            fact
            for (fact, _, mark), (_, _, theirs) in zip(self.marks, base.marks, strict=True)
            if theirs and not mark
        )


def score(ask: Ask, languages: Sequence[str] = ("en", "ko")) -> FactScore:
    """Ask all prompts of the tuning set in these languages."""
    asked = [fact for fact in facts("tuning") if fact.language in languages]
    answers = ask([fact.question for fact in asked])
    return FactScore(
        tuple((fact, answer, is_right(fact, answer)) for fact, answer in zip(asked, answers, strict=True))
    )


def endpoint(url: str, model: str, *, concurrency: int = 32, timeout_s: float = 600.0) -> Ask:
    """Return an `Ask` of an OpenAI server; `url` is its root, without /v1."""

    def ask(questions: Sequence[str]) -> list[str]:
        client = Client(url, model, timeout_s=timeout_s)
        try:
            with ThreadPoolExecutor(concurrency) as pool:
                return list(pool.map(lambda question: _answer(client, question), questions))
        finally:
            client.close()

    return ask


def _answer(client: Client, question: str) -> str:
    reply = client.chat(question, max_tokens=MAX_TOKENS)
    return reply["choices"][0]["message"]["content"] or ""
