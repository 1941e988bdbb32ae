"""Find the limits from questions of which it is known whether the documents answer them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from quantserve.rag.trust.calibration import Limit, Signal, Signals

KEEP = 0.97
"""Share of the answerable questions that must be kept: a wrong "I do not know" is the worse mistake."""
_LOW: tuple[Signal, ...] = ("similarity", "bm25", "rerank")
"""Signals that are low where there is no answer; unseen_names is high there."""


@dataclass(frozen=True)
class Asked:
    """One question's signals, and whether the documents answer it.

    Where nothing was `found` it is refused whatever the limits are.
    """

    signals: Signals
    answerable: bool
    found: bool = True


@dataclass(frozen=True)
class Fitted:
    """The limits, the share of answerable questions they keep, of unanswerable ones they refuse."""

    limits: tuple[Limit, ...]
    kept: float
    refused: float


def fit(questions: Sequence[Asked], keep: float = KEEP) -> Fitted:
    """Return limits on scores that together keep at least `keep` of the answerable questions, and on names.

    Every score may lose an equal part of the rest; a limit that refuses no larger share of the unanswerable
    questions than it loses of the answerable ones says nothing and is left out. A name that no document holds
    is no matter of degree: its limit has no part in the budget.

    Raises:
        ValueError: there is no answerable or no unanswerable question.
    """
    good = [asked for asked in questions if asked.answerable]
    bad = [asked for asked in questions if not asked.answerable]
    if not good or not bad:
        raise ValueError("limits need questions that are answered and questions that are not")
    present = {signal for asked in good for signal in asked.signals}
    scores = [signal for signal in _LOW if signal in present]
    share = (1.0 - keep) / max(1, len(present))
    limits = [_lowest(signal, good, share) for signal in scores]
    limits = [limit for limit in limits if 1.0 - _share_kept([limit], bad) > 1.0 - _share_kept([limit], good)]
    while limits and _share_kept(limits, good) < keep:
        limits.remove(min(limits, key=lambda limit: 1.0 - _share_kept([limit], bad)))
    if "unseen_names" in present:
        names = Limit(signal="unseen_names", most=0)
        if _share_kept([names], bad) < _share_kept([names], good):
            limits.append(names)
    return Fitted(tuple(limits), _share_kept(limits, good), 1.0 - _share_kept(limits, bad))


def _lowest(signal: Signal, good: Sequence[Asked], share: float) -> Limit:
    """Return the limit under which at most `share` of the answerable questions lie."""
    values = sorted(asked.signals[signal] for asked in good if signal in asked.signals)
    lost = math.floor(share * len(values))
    return Limit(signal=signal, least=math.floor(values[lost] * 1e4) / 1e4)


def _share_kept(limits: Sequence[Limit], asked: Sequence[Asked]) -> float:
    return sum(one.found and all(limit.keeps(one.signals) for limit in limits) for one in asked) / len(asked)
