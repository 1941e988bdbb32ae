"""Greedy answers: chats in the languages the model reads, and requests that call for a tool.

Of a chat answer: is there one, does it end, does it repeat itself? Of a tool call: can a program read it?
The tools stand in the message itself, so the same is asked of models whose chat template has no place for
them. What the base itself fails says nothing about the candidate.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

NGRAM_WORDS = 4
MAX_REPETITION = 0.3
MIN_NGRAMS = 12

CHAT_QUESTIONS = {
    "en": (
        "What is the capital of France? Answer in one sentence.",
        "Write one sentence about the sea.",
        "What is 2 + 3? Answer with the number only.",
        "What does a librarian do? Answer in one sentence.",
        "List four fruits.",
        "Name three primary colors.",
        "Explain in one sentence what a computer program is.",
        "Answer with JSON only: the name and age of a person called Anna who is 30.",
    ),
    "ko": (
        "프랑스의 수도는 어디인가요? 한 문장으로 답해 주세요.",
        "바다에 대해 한 문장을 써 주세요.",
        "2 + 3은 얼마인가요? 숫자만 답해 주세요.",
        "과일 네 가지를 말해 주세요.",
    ),
}
"""Chosen so that a sound model of 135M parameters answers each English one briefly and stops (measured: 8
to 40 tokens). A question that the base itself fails is not held against the candidate."""
_TOOLS = {
    "get_weather": {"city": "string"},
    "add_event": {"title": "string", "day": "string"},
    "convert": {"amount": "number", "to": "string"},
}
_ASKED = (
    "What is the weather in Busan?",
    "Put a dentist appointment into my calendar for Monday.",
    "How much are 20 dollars in euros?",
)
_HOW = (
    "You can call these functions, given with their arguments:\n"
    + "\n".join(f"{name}{json.dumps(arguments)}" for name, arguments in _TOOLS.items())
    + '\nAnswer with one JSON object only, of the form {"name": FUNCTION, "arguments": {…}}.\n'
)
TOOL_QUESTIONS = tuple(f"{_HOW}Request: {asked}" for asked in _ASKED)


@dataclass(frozen=True)
class ChatAnswer:
    """One answer as the engine gave it."""

    question: str
    text: str
    finish_reason: str | None
    tokens: int
    prompt_ids: tuple[int, ...] | None
    """The prompt after the chat template, as the engine saw it; None when it does not tell."""
    ids: tuple[int, ...] | None = None
    """The answer as tokens; None when the engine does not tell."""


@dataclass(frozen=True)
class AnswerPair:
    """Both models' answers to one question, and what is wrong with each."""

    question: str
    base: ChatAnswer
    candidate: ChatAnswer
    base_problems: tuple[str, ...]
    candidate_problems: tuple[str, ...]

    @property
    def newly_bad(self) -> bool:
        """Whether the candidate's answer is bad where the base's is good."""
        return bool(self.candidate_problems) and not self.base_problems


def questions_for(languages: Sequence[str]) -> tuple[str, ...]:
    """Return the questions in the given languages."""
    return tuple(question for name in languages for question in CHAT_QUESTIONS.get(name, ()))


def repetition(text: str, n: int = NGRAM_WORDS) -> float:
    """Return the share of n-word runs that occurred before in the text: 1 - distinct / all.

    This is rep-n of Su et al. 2022 (A Contrastive Framework for Neural Text Generation), after seq-rep-n
    of Welleck et al. 2019. A text of fewer than MIN_NGRAMS runs is too short to call repetitive: 0.
    """
    return _repeated(text.casefold().split(), n)


def malformed(answer: ChatAnswer) -> bool:
    """Whether an answer, cut off or not, is empty or repeats itself, by tokens where they are known.

    Tokens and not words, since nonsense is often one long word.
    """
    by_tokens = _repeated(answer.ids, NGRAM_WORDS) if answer.ids else repetition(answer.text)
    return not answer.text.strip() or by_tokens > MAX_REPETITION


def _repeated(parts: Sequence[Hashable], n: int) -> float:
    runs = [tuple(parts[i : i + n]) for i in range(len(parts) - n + 1)]
    return 1 - len(set(runs)) / len(runs) if len(runs) >= MIN_NGRAMS else 0.0


def problems(answer: ChatAnswer) -> tuple[str, ...]:
    """Return what is wrong with an answer: empty, does not end, repeats itself."""
    found = []
    if not answer.text.strip():
        found.append("is empty")
    if answer.finish_reason != "stop":
        found.append(f"does not end by itself ({answer.finish_reason} after {answer.tokens} tokens)")
    share = repetition(answer.text)
    if share > MAX_REPETITION:
        found.append(f"repeats itself ({share:.0%} of its {NGRAM_WORDS}-word runs)")
    return tuple(found)


def compare_answers(base: Sequence[ChatAnswer], candidate: Sequence[ChatAnswer]) -> tuple[AnswerPair, ...]:
    """Pair the answers to the same questions, in order."""
    return tuple(
        AnswerPair(one.question, one, other, problems(one), problems(other))
        for one, other in zip(base, candidate, strict=True)
    )


def length_ratio(pairs: Sequence[AnswerPair]) -> float | None:
    """Return the candidate's answer tokens over the base's, or None when the base said nothing."""
    base = sum(pair.base.tokens for pair in pairs)
    return sum(pair.candidate.tokens for pair in pairs) / base if base else None


def same_prompts(pairs: Sequence[AnswerPair]) -> bool | None:
    """Whether chat template and tokenizer turned every question into the same tokens; None is unknown."""
    seen = [(pair.base.prompt_ids, pair.candidate.prompt_ids) for pair in pairs]
    if not seen or any(one is None or other is None for one, other in seen):
        return None
    return all(one == other for one, other in seen)


@dataclass(frozen=True)
class CallPair:
    """Both models' answers to one request, and whether each holds a call."""

    question: str
    base: ChatAnswer
    candidate: ChatAnswer
    base_parses: bool
    candidate_parses: bool

    @property
    def newly_broken(self) -> bool:
        """Whether the candidate's call cannot be read where the base's can."""
        return self.base_parses and not self.candidate_parses


def parse_call(text: str) -> dict[str, Any] | None:
    """Return the first call in an answer: a JSON object with a known name and an object of arguments.

    What stands around it, such as a code fence or <tool_call> tags, is skipped, as the engine's own
    parsers do.
    """
    decoder = json.JSONDecoder()
    start = text.find("{")
    while start != -1:
        try:
            value, _ = decoder.raw_decode(text, start)
        except json.JSONDecodeError:
            value = None
        if (
            isinstance(value, dict)
            and value.get("name") in _TOOLS
            and isinstance(value.get("arguments"), dict)
        ):
            return value
        start = text.find("{", start + 1)
    return None


def compare_calls(base: Sequence[ChatAnswer], candidate: Sequence[ChatAnswer]) -> tuple[CallPair, ...]:
    """Pair the answers to the same requests, in order."""
    return tuple(
        CallPair(
            one.question, one, other, parse_call(one.text) is not None, parse_call(other.text) is not None
        )
        for one, other in zip(base, candidate, strict=True)
    )
