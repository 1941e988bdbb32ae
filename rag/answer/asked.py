"""One question on its way: what was asked and how, and what is known meanwhile."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from quantserve.rag.llm import Cancellation, Message
from quantserve.rag.retrieve import Passage

Sink = Callable[[str], None]
Passages = Callable[[Sequence[Passage]], None]


@dataclass
class Asked:
    """What every step of answering needs; the steps add their seconds."""

    question: str
    language: str
    history: tuple[Message, ...]
    search_for: str
    system: str
    on_text: Sink
    on_passages: Passages
    cancellation: Cancellation
    asks: str = ""
    """The question without a greeting before it; empty where it is nothing but small talk."""
    provisional: bool = False
    """Whether something failed on the way to the search."""
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def context(self) -> str:
        """A digest of what the answer depends on beside the question itself; empty for a plain one."""
        if not self.history and not self.search_for:
            return ""
        told = json.dumps([self.history, self.search_for], ensure_ascii=False)
        return hashlib.sha256(told.encode()).hexdigest()[:32]

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the seconds of a stage; ends early where the answer is no longer wanted."""
        self.cancellation.check()
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started
