"""Clients that stream without pause, and note every answer and every failure."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import openai


@dataclass(frozen=True)
class Answer:
    """One answer: its words by how often each came, and whether it was whole."""

    words: tuple[str, ...]
    finished: bool


class Streamers:
    """`count` clients of the official openai package, each its own conversation, without retries."""

    def __init__(
        self,
        base_url: str,
        prompt: str,
        count: int,
        max_tokens: int,
        key: str = "none",
        pause_s: float = 0.0,
    ) -> None:
        """`pause_s` between two answers leaves a small machine time to start an engine beside them."""
        self.answers: list[Answer] = []
        self.failures: list[BaseException] = []
        self._stop = threading.Event()
        self._client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=120)
        self._max_tokens = max_tokens
        self._pause_s = pause_s
        self._threads = [
            threading.Thread(target=self._talk, args=(f"{number} {prompt}",)) for number in range(count)
        ]

    def __enter__(self) -> Streamers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._client.close()

    def _talk(self, prompt: str) -> None:
        while not self._stop.wait(self._pause_s):
            try:
                self.answers.append(self._ask(prompt))
            except Exception as error:  # noqa: BLE001  any failure at all is what the test looks for
                self.failures.append(error)

    def _ask(self, prompt: str) -> Answer:
        words: list[str] = []
        finished = False
        with self._client.completions.create(
            model="tiny",
            prompt=prompt,
            max_tokens=self._max_tokens,
            stream=True,
            extra_body={"ignore_eos": True},
        ) as stream:
            for chunk in stream:
                if chunk.choices:
                    words.append(chunk.choices[0].text)
                    finished = finished or chunk.choices[0].finish_reason is not None
        return Answer(tuple(words), finished)
