"""Coordinate search: one setting at a time against the best so far, the result once more. Pure.

    search(dimensions, profile, compare, confirm)      `compare` measures; everything else is decided here

Candidate and incumbent are measured in pairs, one right after the other. The mean of the logarithms of their
ratios has a Student interval (Georges, Buytaert & Eeckhout, "Statistically rigorous Java performance
evaluation", OOPSLA 2007, on paired comparisons of few runs); its lower end must lie above the least gain.

What won in a search has been chosen among many, so luck is in it: at the end the winner is measured afresh
against the profile the search began with, and only that comparison counts.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from quantserve.benchmarks.tune.space import Changes, Dimension, ProfileSettings, Value, candidates, onward
from quantserve.core.stats import mean_interval

Pair = tuple[float, float]
"""(candidate, incumbent) scores."""


class PairVerdict(StrEnum):
    """What a number of pairs says."""

    WINS = "wins"
    STAYS = "default stays"
    GO_ON = "undecided"


@dataclass(frozen=True)
class StoppingRule:
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


def gain(pairs: Sequence[Pair]) -> Gain:
    """Compare (candidate, incumbent) scores. A candidate that scores nothing has a ratio of 0."""
    if not pairs:
        return Gain(1.0, None, None, 0)
    if any(one <= 0 for one, _ in pairs):
        return Gain(0.0, None, None, len(pairs))
    if any(other <= 0 for _, other in pairs):
        return Gain(math.inf, None, None, len(pairs))
    logs = [math.log(one / other) for one, other in pairs]
    low, high = mean_interval(logs) or (None, None)
    return Gain(
        math.exp(statistics.fmean(logs)),
        None if low is None else math.exp(low),
        None if high is None else math.exp(high),
        len(logs),
    )


def judge(pairs: Sequence[Pair], rule: StoppingRule) -> PairVerdict:
    """Decide after so many pairs, or ask for more."""
    found = gain(pairs)
    if found.pairs == 0:
        return PairVerdict.GO_ON
    if found.ratio == 0.0 or (found.pairs == 1 and found.ratio < rule.hopeless):
        return PairVerdict.STAYS
    if found.pairs < rule.first_look:
        return PairVerdict.GO_ON
    if found.ratio == math.inf:  # the incumbent met the limits in no pair, the candidate in all of them
        return PairVerdict.WINS
    if found.low is not None and found.low > 1.0 + rule.least_gain:
        return PairVerdict.WINS
    if found.ratio <= 1.0 + rule.least_gain or found.pairs >= rule.most_pairs:
        return PairVerdict.STAYS
    return PairVerdict.GO_ON


@dataclass(frozen=True)
class Comparison:
    """One candidate against one incumbent."""

    incumbent: Changes
    candidate: Changes
    verdict: PairVerdict
    gain: Gain
    pairs: tuple[Pair, ...] = ()
    note: str = ""
    """Why it could not be measured."""


Compare = Callable[[Changes, Changes], Comparison]
"""(candidate, incumbent) → what came of it."""


@dataclass
class SearchResult:
    """What the search came to."""

    changes: Changes
    """Settings that differ from the profile it began with; empty: the default stays."""
    tried: list[Comparison] = field(default_factory=list)
    confirmed: Comparison | None = None
    """The winner against the default, measured afresh; None when nothing won."""
    complete: bool = True
    """False when time was over before every setting had been tried."""


def search(
    dimensions: Sequence[Dimension],
    start: ProfileSettings,
    compare: Compare,
    confirm: Compare,
    time_is_over: Callable[[], bool] = lambda: False,
) -> SearchResult:
    """Search every dimension once, then confirm."""
    search = _Search(start, compare, time_is_over)
    for dimension in dimensions:
        search.along(dimension)
    result = search.result
    if result.changes:
        result.confirmed = confirm(result.changes, {})
        if result.confirmed.verdict is not PairVerdict.WINS:
            result.changes = {}
    return result


class _Search:
    """The best so far, and what was tried."""

    def __init__(self, start: ProfileSettings, compare: Compare, time_is_over: Callable[[], bool]) -> None:
        self.result = SearchResult({})
        self._start, self._compare, self._time_is_over = start, compare, time_is_over

    def along(self, dimension: Dimension) -> None:
        """Try one setting's values; on a ladder go on in the direction that won, as long as it wins."""
        before = self._start.value(dimension.key, self.result.changes)
        for value in candidates(dimension, before):
            if not self._wins(dimension.key, value) or not dimension.ladder:
                continue
            now: Value = value
            while (further := onward(dimension, before, now)) is not None:
                if not self._wins(dimension.key, further):
                    return
                before, now = now, further
            return

    def _wins(self, key: str, value: Value) -> bool:
        if self._time_is_over():
            self.result.complete = False
            return False
        candidate = dict(self.result.changes)
        if value == self._start.value(key):
            candidate.pop(key, None)
        else:
            candidate[key] = value
        outcome = self._compare(candidate, dict(self.result.changes))
        self.result.tried.append(outcome)
        if outcome.verdict is not PairVerdict.WINS:
            return False
        self.result.changes = candidate
        return True
