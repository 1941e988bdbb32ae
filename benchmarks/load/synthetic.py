"""Prompts of exact token counts by the server's own tokenizer, made of common words, no two beginning alike.

A shared prefix is made where it is asked for, so that a warm prefix cache flatters nobody.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx

from quantserve.benchmarks.errors import BadOption, ServerUnusable
from quantserve.benchmarks.load.plan import Task, Turn

TokenCounter = Callable[[str | list[dict[str, Any]]], int]

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


def make(spec: Synthetic, count: int, seed: int, counter: TokenCounter, wording: int = 0) -> list[Task]:
    """Make `count` tasks; another `wording` gives the same lengths in other words.

    Every prompt's length is checked with `counter` and corrected until it is exact; with the chat template
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


def text_of(tokens: int, seed: int, counter: TokenCounter) -> str:
    """Make a text that counts `tokens`, or as near to it as words allow."""
    chance = random.Random(seed)
    return _fit([chance.choice(WORDS) for _ in range(tokens)], tokens, chance, counter, 0)[0]


def _count(counter: TokenCounter, wrap: Callable[[str], str | list[dict[str, Any]]], text: str) -> int:
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


class Tokenizer:
    """Counts tokens as the server does: vLLM's /tokenize or llama.cpp's.

    `exact` is False where the server has neither; then counts are estimates by four characters a token
    and the run says so.
    """

    def __init__(
        self, base_url: str, model: str, api_key: str | None = None, timeout_s: float = 30.0
    ) -> None:
        """`base_url` ends in /v1."""
        self._root = base_url.rstrip("/").removesuffix("/v1")
        self._model = model
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.Client(timeout=timeout_s, headers=headers, trust_env=False)
        self._dialect: str | None = None
        self.exact = True
        try:
            self._choose()
        except httpx.HTTPError as error:
            raise ServerUnusable(
                f"{base_url} does not answer ({error})", mend="Is it running? quantserve serving status"
            ) from error

    def _choose(self) -> None:
        body: dict[str, Any] = {"model": self._model, "prompt": "probe"}
        for dialect, fields in (("vllm", body), ("llama.cpp", {"content": "probe"})):
            reply = self._client.post(self._root + "/tokenize", json=fields)
            if reply.status_code == 200 and {"count", "tokens"} & reply.json().keys():
                self._dialect = dialect if "count" in reply.json() else "llama.cpp"
                if self._dialect == dialect:
                    return
        self._dialect, self.exact = None, False

    def _body(self, text: str | list[dict[str, Any]]) -> dict[str, Any]:
        if self._dialect == "llama.cpp":
            return {"content": text, "add_special": True}
        if isinstance(text, str):
            return {"model": self._model, "prompt": text}
        return {"model": self._model, "messages": text, "add_generation_prompt": True}

    def count(self, text: str | list[dict[str, Any]]) -> int:
        """Tokens of a prompt, or of a message list with the chat template around it."""
        if self._dialect is None or (self._dialect == "llama.cpp" and not isinstance(text, str)):
            self.exact = False
            plain = text if isinstance(text, str) else " ".join(str(m["content"]) for m in text)
            return max(1, len(plain) // 4)
        try:
            reply = self._client.post(f"{self._root}/tokenize", json=self._body(text))
            reply.raise_for_status()
            value = reply.json()
            return int(value["count"]) if self._dialect == "vllm" else len(value["tokens"])
        except (httpx.HTTPError, KeyError, ValueError) as error:
            raise ServerUnusable(f"the server's tokenizer failed: {error}") from error
