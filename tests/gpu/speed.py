"""Output tokens per second of a running server at several concurrencies."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx

PROMPT_TOKENS, OUTPUT_TOKENS = 256, 128
CONCURRENCIES = (1, 32, 128)


def output_speeds(url: str, model: str, vocabulary: int, rounds: int = 2) -> dict[str, list[float]]:
    """Return tokens per second of each round, by concurrency; every prompt is new to the prefix cache.

    A round of every concurrency goes before, uncounted, for what compiles at first use.
    """
    found: dict[str, list[float]] = {str(at): [] for at in CONCURRENCIES}
    limits = httpx.Limits(max_connections=max(CONCURRENCIES))
    with httpx.Client(base_url=url, timeout=300, limits=limits, trust_env=False) as client:
        for number in range(rounds + 1):
            for at in CONCURRENCIES:
                speed = _speed(client, model, _prompts(vocabulary, at, number))
                if number:
                    found[str(at)].append(round(speed, 1))
    return found


def _prompts(vocabulary: int, count: int, number: int) -> list[list[int]]:
    chosen = random.Random(f"{count} {number}")
    return [[chosen.randrange(vocabulary - 2) for _ in range(PROMPT_TOKENS)] for _ in range(count)]


def _speed(client: httpx.Client, model: str, prompts: Sequence[list[int]]) -> float:
    def one(prompt: list[int]) -> int:
        wish = {"model": model, "prompt": prompt, "max_tokens": OUTPUT_TOKENS, "ignore_eos": True}
        reply = client.post("/v1/completions", json={**wish, "temperature": 0})
        reply.raise_for_status()
        return int(reply.json()["usage"]["completion_tokens"])

    with ThreadPoolExecutor(len(prompts)) as pool:
        start = time.perf_counter()
        tokens = sum(pool.map(one, prompts))
        seconds = time.perf_counter() - start
    assert tokens == len(prompts) * OUTPUT_TOKENS
    return tokens / seconds
