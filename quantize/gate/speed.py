"""How fast an engine answers: output tokens per second at each concurrency, and the time to first token."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from quantserve.core.speed import SpeedPair
from quantserve.quantize.gate.client import Client
from quantserve.quantize.gate.config import Measurement
from quantserve.quantize.gate.errors import BadReply

_PROMPT_TOKENS = 48
Tick = Callable[[str], None]
"""Called once for each request that was answered, with what it was for."""


@dataclass(frozen=True)
class Speed:
    """Output speed with `concurrency` requests in flight, in one round."""

    concurrency: int
    tokens: int
    seconds: float

    @property
    def tokens_per_s(self) -> float:
        """Output tokens per second of all requests together."""
        return self.tokens / self.seconds


@dataclass(frozen=True)
class Round:
    """One turn of one engine."""

    speeds: tuple[Speed, ...]
    first_token_s: tuple[float, ...]
    """Times of requests for one token, nothing else running."""


def requests_of(plan: Measurement) -> int:
    """Return how many requests a round makes."""
    return sum(plan.speed_concurrencies) + plan.first_token_requests


def measure_round(
    client: Client, plan: Measurement, prompts: Sequence[Sequence[int]], number: int, tick: Tick
) -> Round:
    """Take one turn. `number` of the round chooses prompts that the engine's prefix cache does not know."""
    first = _first_tokens(client, plan, prompts, number, tick)
    speeds = tuple(_speed(client, plan, prompts, at, number, tick) for at in plan.speed_concurrencies)
    return Round(speeds, first)


def totals(rounds: Sequence[Round]) -> tuple[Speed, ...]:
    """Return each concurrency's tokens and seconds over all rounds."""
    return tuple(
        Speed(same[0].concurrency, sum(s.tokens for s in same), sum(s.seconds for s in same))
        for same in zip(*(one.speeds for one in rounds), strict=True)
    )


def pairs(base: Sequence[Round], candidate: Sequence[Round]) -> tuple[SpeedPair, ...]:
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
) -> Speed:
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
    return Speed(at, tokens, seconds)


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
