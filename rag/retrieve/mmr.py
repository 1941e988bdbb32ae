"""Maximal marginal relevance: near-duplicates give way (Carbonell and Goldstein, SIGIR 1998)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def mmr_order(relevance: Sequence[float], vectors: Floats, count: int, relevance_weight: float) -> list[int]:
    """Return up to `count` indices into `vectors` [n, d], in the order of choosing.

    Each step takes the highest w · relevance(v) − (1 − w) · max cos(chosen, v). `relevance` [n] is what
    ordered the passages before, a fused or a reranker's score; both it and the cosines between the normalised
    `vectors` are put on the scale 0 to 1 of these n passages, since neither has a scale the other knows.
    """
    if not len(vectors):
        return []
    wanted = _to_unit(np.asarray(relevance, np.float64))
    likeness = (vectors @ vectors.T).astype(np.float64)
    apart = ~np.eye(len(vectors), dtype=bool)
    likeness[apart] = _to_unit(likeness[apart])
    redundancy = np.zeros(len(vectors))
    left = list(range(len(vectors)))
    chosen: list[int] = []
    while left and len(chosen) < count:
        gains = relevance_weight * wanted[left] - (1.0 - relevance_weight) * redundancy[left]
        best = left.pop(int(np.argmax(gains)))
        chosen.append(best)
        redundancy = np.maximum(redundancy, likeness[best])
    return chosen


def _to_unit(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Put values on the scale 0 to 1; equal ones are all 1."""
    if not values.size or values.max() == values.min():
        return np.ones_like(values)
    return np.asarray((values - values.min()) / (values.max() - values.min()))
