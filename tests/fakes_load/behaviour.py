"""What the fake server is set to do, and what its connections share."""

from __future__ import annotations

import collections
import dataclasses
import random
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Knobs:
    """The server's behaviour."""

    ttft_ms: float = 0.0
    itl_ms: float = 0.0
    jitter: float = 0.0  # each gap is multiplied by 1 ± jitter, uniformly
    chunk_tokens: int = 1
    slots: int = 0  # requests served at once; the others wait in a queue; 0: no limit
    failure_rate: float = 0.0
    failure_kind: str = "http_500"  # http_429 http_400 cut garbage error_event no_done no_usage hang empty
    stall_at_s: float = 0.0  # after this long (from the first request) nothing is written …
    stall_s: float = 0.0  # … for this long
    no_tokenize: bool = False
    seed: int = 1


class State:
    """What all connections share."""

    def __init__(self, knobs: Knobs, truth: Path | None) -> None:
        self.knobs = knobs
        self.random = random.Random(knobs.seed)
        self.truth = truth.open("wb") if truth else None
        self.running = 0
        self.waiting: collections.deque[Any] = collections.deque()
        self.first_s: float | None = None
        self.totals: collections.Counter[str] = collections.Counter()

    def delayed(self, when_s: float) -> float:
        """Push a planned time out of the stall."""
        if self.knobs.stall_s and self.first_s is not None:
            begin = self.first_s + self.knobs.stall_at_s
            if begin <= when_s < begin + self.knobs.stall_s:
                return begin + self.knobs.stall_s
        return when_s
