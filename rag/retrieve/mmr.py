"""Maximal marginal relevance: near-duplicates give way (Carbonell and Goldstein, SIGIR 1998)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def mmr_order(query: Floats, vectors: Floats, count: int, relevance_weight: float) -> list[int]:
    """Return up to `count` indices into `vectors` [n, d], in the order of choosing.

    Each step takes the highest w · cos(query, v) − (1 − w) · max cos(chosen, v); all are normalised.
    """
    relevance = vectors @ query
    redundancy = np.full(len(vectors), -1.0, np.float32)
    left = list(range(len(vectors)))
    chosen: list[int] = []
    while left and len(chosen) < count:
        gains = relevance_weight * relevance[left]
        if chosen:
            gains = gains - (1.0 - relevance_weight) * redundancy[left]
        best = left.pop(int(np.argmax(gains)))
        chosen.append(best)
        redundancy = np.maximum(redundancy, vectors @ vectors[best])
    return chosen
