"""Prompts of exact token counts, made of common words, no two beginning alike."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from functools import partial
from typing import Any

from quantserve.benchmarks.errors import BadOption
from quantserve.benchmarks.plan import Task, Turn

Counter = Callable[[str | list[dict[str, Any]]], int]

_TEXT = (
    "time year people way day man thing woman life child world school state family student group country "
    "problem hand part place case week company system program question work government number night point "
    "home water room mother area money story fact month lot right study book eye job word business issue "
    "side kind head house service friend father power hour game line end member law car city community name "
    "president team minute idea body information back parent face others level office door health person art "
    "war history party result change morning reason research girl guy moment air teacher force education"
)
WORDS = tuple(_TEXT.split())


@dataclasses.dataclass(frozen=True)
class Spread:
    """A token count: `mean`, or drawn uniformly from `low` to `high`."""

    low: int
    high: int

    @classmethod
    def parse(cls, text: str) -> Spread:
        """Read `128` or `16-256`.

        Raises:
            BadOption: it is neither.
        """
        low, _, high = text.partition("-")
        try:
            spread = cls(int(low), int(high or low))
        except ValueError as error:
            raise BadOption(f"{text!r} is no token count", mend="Write 128 or 16-256") from error
        if not 1 <= spread.low <= spread.high:
            raise BadOption(f"{text!r} is no token count", mend="Write 128 or 16-256")
        return spread

    def draw(self, chance: random.Random) -> int:
        """One count."""
        return chance.randint(self.low, self.high)


@dataclasses.dataclass(frozen=True)
class Synthetic:
    """What to make."""

    prompt: Spread
    output: Spread
    shared_share: float = 0.0
    """Share of each prompt that is one common prefix."""
    turns: int = 1
    chat: bool = False


def make(spec: Synthetic, count: int, seed: int, counter: Counter, wording: int = 0) -> list[Task]:
    """Make `count` tasks; another `wording` gives the same lengths in other words.

    Every prompt's length is checked with `counter` and mended until it is exact; with the chat template
    around it for chat. Later turns of a conversation are exact in what they add.
    """
    lengths, chance = random.Random(seed), random.Random(f"{seed} {wording}")
    prefix_words = [chance.choice(WORDS) for _ in range(max(spec.prompt.high, 1))]
    tasks = []
    for number in range(count):
        turns = []
        for index in range(spec.turns):
            tokens = spec.prompt.draw(lengths)
            shared = int(tokens * spec.shared_share) if index == 0 else 0
            make_text = _chat_text if spec.chat else _plain_text
            words = prefix_words[:shared] + [chance.choice(WORDS) for _ in range(max(0, tokens - shared))]
            text, exact = _fit(words, tokens, chance, partial(_count, counter, make_text), shared)
            turns.append(
                Turn(
                    prompt=_chat_text(text) if spec.chat else text,
                    max_tokens=spec.output.draw(lengths),
                    prompt_tokens=exact if index == 0 else None,
                    shared_tokens=max(0, shared - 2),
                )
            )
        tasks.append(Task(id=number, turns=turns))
    return tasks


def text_of(tokens: int, seed: int, counter: Counter) -> str:
    """Make a text that counts `tokens`, or as near to it as words allow."""
    chance = random.Random(seed)
    return _fit([chance.choice(WORDS) for _ in range(tokens)], tokens, chance, counter, 0)[0]


def _count(counter: Counter, wrap: Callable[[str], str | list[dict[str, Any]]], text: str) -> int:
    return counter(wrap(text))


def _plain_text(text: str) -> str | list[dict[str, Any]]:
    return text


def _chat_text(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def _fit(
    words: list[str], tokens: int, chance: random.Random, count: Callable[[str], int], keep: int
) -> tuple[str, int]:
    """Add or drop words at the end until the text counts exactly `tokens`; give the closest if it cannot."""
    words = list(words) or [chance.choice(WORDS)]
    best = ("", -1)
    for _ in range(12):
        text = " ".join(words)
        now = count(text)
        if best[1] < 0 or abs(now - tokens) < abs(best[1] - tokens):
            best = (text, now)
        if now == tokens:
            return text, now
        if now > tokens:
            cut = min(now - tokens, max(1, len(words) - 1))
            if len(words) <= 1:
                break
            del words[len(words) - min(cut, len(words) - 1) :]
        else:
            words += [chance.choice(WORDS) for _ in range(tokens - now)]
    return best
