"""Coordinate search: one setting at a time, each candidate against the best so far, the result once more.

    search(dimensions, profile, compare, rule)      `compare` measures; everything else is decided here

What won in a search has been chosen among many, so luck is in it: at the end the winner is measured afresh
against the profile the search began with, and only that comparison counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from quantserve.serving.profiles import Profile
from quantserve.serving.tune.decide import Gain, Verdict
from quantserve.serving.tune.space import (
    Changes,
    Dimension,
    Value,
    candidates,
    onward,
    value_of,
    with_changes,
)


@dataclass(frozen=True)
class Comparison:
    """One candidate against one incumbent."""

    incumbent: Changes
    candidate: Changes
    verdict: Verdict
    gain: Gain
    pairs: tuple[tuple[float, float], ...] = ()
    """(candidate, incumbent) scores."""
    note: str = ""
    """Why it could not be measured."""


Compare = Callable[[Changes, Changes], Comparison]
"""(candidate, incumbent) → what came of it."""


@dataclass
class Found:
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
    start: Profile,
    compare: Compare,
    confirm: Compare,
    time_is_over: Callable[[], bool] = lambda: False,
) -> Found:
    """Search every dimension once, then confirm."""
    found = Found({})
    for dimension in dimensions:
        if time_is_over():
            found.complete = False
            break
        _one(dimension, start, compare, found, time_is_over)
    if found.changes:
        found.confirmed = confirm(found.changes, {})
        if found.confirmed.verdict is not Verdict.WINS:
            found.changes = {}
    return found


def _one(
    dimension: Dimension,
    start: Profile,
    compare: Compare,
    found: Found,
    time_is_over: Callable[[], bool],
) -> None:
    before = value_of(with_changes(start, found.changes), dimension.key)
    for value in candidates(dimension, before):
        if time_is_over():
            found.complete = False
            return
        if not _try(dimension.key, value, start, compare, found):
            continue
        if dimension.ladder:
            _climb(dimension, before, value, start, compare, found, time_is_over)
            return


def _climb(
    dimension: Dimension,
    before: Value,
    now: Value,
    start: Profile,
    compare: Compare,
    found: Found,
    time_is_over: Callable[[], bool],
) -> None:
    """Go on in the direction that won, as long as it wins."""
    while (further := onward(dimension, before, now)) is not None:
        if time_is_over():
            found.complete = False
            return
        if not _try(dimension.key, further, start, compare, found):
            return
        before, now = now, further


def _try(key: str, value: Value, start: Profile, compare: Compare, found: Found) -> bool:
    candidate = dict(found.changes)
    if value == value_of(start, key):
        candidate.pop(key, None)
    else:
        candidate[key] = value
    outcome = compare(candidate, dict(found.changes))
    found.tried.append(outcome)
    if outcome.verdict is not Verdict.WINS:
        return False
    found.changes = candidate
    return True
