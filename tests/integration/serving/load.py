"""Clients of a real engine: long streams, many requests at once, and what its metrics say meanwhile."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import httpx


def completion(tokens: int, **fields: Any) -> dict[str, Any]:
    """Return a body that asks for exactly so many tokens."""
    return {
        "model": "tiny",
        "prompt": "The with statement",
        "max_tokens": tokens,
        "ignore_eos": True,
        **fields,
    }


class LongStream:
    """One streamed completion, read in a thread."""

    def __init__(self, base_url: str, tokens: int) -> None:
        self.events: list[str] = []
        self.error: httpx.HTTPError | None = None
        self._body = completion(tokens, stream=True, stream_options={"include_usage": True})
        self._url = f"{base_url}/completions"
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            with httpx.stream("POST", self._url, json=self._body, timeout=120, trust_env=False) as response:
                self.events.extend(line for line in response.iter_lines() if line)
        except httpx.HTTPError as error:
            self.error = error

    def wait(self) -> None:
        self._thread.join(120)
        assert not self._thread.is_alive(), "the stream hangs"

    @property
    def tokens(self) -> int | None:
        """The usage of a stream that was whole, else None."""
        if self.events[-1:] != ["data: [DONE]"]:
            return None
        usage = json.loads(self.events[-2].removeprefix("data: ")).get("usage")
        return None if usage is None else int(usage["completion_tokens"])


def ask_at_once(base_url: str, clients: int, tokens: int) -> list[tuple[int, int]]:
    """Send so many requests together; return status and tokens of each."""

    async def all_of_them() -> list[tuple[int, int]]:
        limits = httpx.Limits(max_connections=clients)
        async with httpx.AsyncClient(timeout=120, limits=limits, trust_env=False) as client:
            asked = [client.post(f"{base_url}/completions", json=completion(tokens)) for _ in range(clients)]
            answers = await asyncio.gather(*asked)
        return [(answer.status_code, answer.json()["usage"]["completion_tokens"]) for answer in answers]

    return asyncio.run(all_of_them())


def samples(url: str, name: str) -> list[tuple[str, float]]:
    """Return every sample of one metric: its labels as text, and its value."""
    found = []
    for line in httpx.get(f"{url}/metrics", timeout=20, trust_env=False).text.splitlines():
        if line.startswith((f"{name}{{", f"{name} ")):
            labels, _, value = line.removeprefix(name).rpartition(" ")
            found.append((labels, float(value)))
    return found


def sample(url: str, name: str, label: str = "") -> float:
    """Return the sum of a metric's samples whose labels hold `label`."""
    return sum(value for labels, value in samples(url, name) if label in labels)
