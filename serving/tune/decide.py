"""Has a candidate won, or is it noise? Pure.

Candidate and incumbent are measured in pairs, one right after the other. The mean of the logarithms of their
ratios has a Student interval (Georges, Buytaert & Eeckhout, "Statistically rigorous Java performance
evaluation", OOPSLA 2007, on paired comparisons of few runs); its lower end must lie above the least gain.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

# Two-sided 95 % quantiles of Student's t by degrees of freedom, from any table.
_T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


class Verdict(StrEnum):
    """What a number of pairs says."""

    WINS = "wins"
    STAYS = "default stays"
    GO_ON = "undecided"


@dataclass(frozen=True)
class Rule:
    """When to believe."""

    least_gain: float = 0.02
    """A setting that gains less is not worth differing from the default."""
    first_look: int = 3
    most_pairs: int = 6
    hopeless: float = 0.9
    """A ratio below this in the first pair ends it."""


@dataclass(frozen=True)
class Gain:
    """Candidate ÷ incumbent: geometric mean over pairs, with its 95 % interval where there are enough."""

    ratio: float
    low: float | None
    high: float | None
    pairs: int

    def __str__(self) -> str:
        """For people."""
        if self.low is None or self.high is None:
            return f"×{self.ratio:.2f}"
        return f"×{self.ratio:.2f} ({self.low:.2f}…{self.high:.2f})"


def gain(pairs: Sequence[tuple[float, float]]) -> Gain:
    """Compare (candidate, incumbent) scores. A candidate that scores nothing has a ratio of 0."""
    if not pairs:
        return Gain(1.0, None, None, 0)
    if any(one <= 0 for one, _ in pairs):
        return Gain(0.0, None, None, len(pairs))
    if any(other <= 0 for _, other in pairs):
        return Gain(math.inf, None, None, len(pairs))
    logs = [math.log(one / other) for one, other in pairs]
    middle = statistics.fmean(logs)
    if len(logs) < 2:
        return Gain(math.exp(middle), None, None, len(logs))
    t = _T95[min(len(logs) - 1, max(_T95))]
    half = t * statistics.stdev(logs) / math.sqrt(len(logs))
    return Gain(math.exp(middle), math.exp(middle - half), math.exp(middle + half), len(logs))


def judge(pairs: Sequence[tuple[float, float]], rule: Rule) -> Verdict:
    """Decide after so many pairs, or ask for more."""
    found = gain(pairs)
    if found.pairs == 0:
        return Verdict.GO_ON
    if found.ratio == 0.0 or (found.pairs == 1 and found.ratio < rule.hopeless):
        return Verdict.STAYS
    if found.pairs < rule.first_look:
        return Verdict.GO_ON
    if found.ratio == math.inf:  # the incumbent met the limits in no pair, the candidate in all of them
        return Verdict.WINS
    if found.low is not None and found.low > 1.0 + rule.least_gain:
        return Verdict.WINS
    if found.ratio <= 1.0 + rule.least_gain or found.pairs >= rule.most_pairs:
        return Verdict.STAYS
    return Verdict.GO_ON
