"""Which of two models is the faster one, and at which concurrency does that change? Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

_SAME = 0.03
"""Two speeds within 3 % are the same: rounds of one engine on an idle machine differ by as much."""


@dataclass(frozen=True)
class SpeedPair:
    """Output tokens per second of both at one concurrency; the spread is over the rounds."""

    concurrency: int
    base: float
    candidate: float
    low: float | None = None
    """Lowest and highest candidate-over-base of a round; None when there was one only."""
    high: float | None = None

    @property
    def ratio(self) -> float:
        """Candidate over base."""
        return self.candidate / self.base


def sign(pair: SpeedPair) -> int:
    """Return 1 when the candidate is faster, -1 slower, 0 when rounds disagree or it is not worth a word."""
    if pair.low is not None and pair.high is not None and pair.low <= 1 <= pair.high:
        return 0
    return 0 if abs(pair.ratio - 1) <= _SAME else 1 if pair.ratio > 1 else -1


def crossover(pairs: Sequence[SpeedPair]) -> float | None:
    """Return the concurrency where the faster one changes, or None where it never does.

    Between two measured concurrencies the logarithm of the ratio is taken as a line over the logarithm
    of the concurrency. The first change counts.
    """
    told = [pair for pair in sorted(pairs, key=lambda pair: pair.concurrency) if sign(pair)]
    for one, other in itertools.pairwise(told):
        if sign(one) != sign(other):
            before, after = math.log(one.ratio), math.log(other.ratio)
            share = before / (before - after)
            return math.exp(math.log(one.concurrency) + share * math.log(other.concurrency / one.concurrency))
    return None


def sentence(pairs: Sequence[SpeedPair]) -> str:
    """Say plainly where the candidate is faster and where slower than the base."""
    ordered = sorted(pairs, key=lambda pair: pair.concurrency)
    words = {1: "faster than", 0: "as fast as", -1: "slower than"}
    parts = []
    for value in (1, 0, -1):
        at = [f"{pair.concurrency} (×{pair.ratio:.2f})" for pair in ordered if sign(pair) == value]
        if at:
            parts.append(f"{words[value]} the base at a concurrency of {listed(at)}")
    told = "; ".join(parts)
    change = crossover(ordered)
    if change is not None:
        told += f". The two cross at about {change:.0f} concurrent requests"
    return f"The artifact is {told}." if told else "Its speed was not measured."


def listed(parts: Sequence[object]) -> str:
    """Write `1, 8 and 32`."""
    words = [str(part) for part in parts]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
