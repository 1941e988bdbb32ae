"""How well a score of the search tells questions with an answer in the documents from those without. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quantserve.rag.retrieve import Passage

SIGNALS = ("similarity", "score", "bm25", "rerank")


@dataclass(frozen=True)
class Roc:
    """Receiver operating characteristic: rates at each threshold, highest first, and the area under it."""

    thresholds: tuple[float, ...]
    true_positive_rates: tuple[float, ...]
    false_positive_rates: tuple[float, ...]
    area: float


def scores_of(passages: Sequence[Passage]) -> dict[str, float]:
    """Return each score's best value over the passages found; 0.0 where nothing was, none where unknown."""
    if not passages:
        return dict.fromkeys(SIGNALS[:3], 0.0)
    found: dict[str, list[float | None]] = {
        "similarity": [passage.similarity for passage in passages],
        "score": [passage.score for passage in passages],
        "bm25": [passage.bm25 for passage in passages],
        "rerank": [passage.rerank for passage in passages],
    }
    known = {name: [value for value in values if value is not None] for name, values in found.items()}
    return {name: max(values) for name, values in known.items() if values}


def roc(answerable: Sequence[float], unanswerable: Sequence[float]) -> Roc:
    """Return the curve of a score (Fawcett, 2006); its area is P(answerable > unanswerable), ties a half."""
    positive, negative = np.asarray(answerable, np.float64), np.asarray(unanswerable, np.float64)
    thresholds = np.unique(np.concatenate([positive, negative]))[::-1]
    above = (positive[:, None] > negative[None, :]).mean()
    equal = (positive[:, None] == negative[None, :]).mean()
    return Roc(
        tuple(thresholds.tolist()),
        tuple((positive[None, :] >= thresholds[:, None]).mean(axis=1).tolist()),
        tuple((negative[None, :] >= thresholds[:, None]).mean(axis=1).tolist()),
        float(above + equal / 2),
    )
