"""Merge the dense ranking and the ranking by words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def reciprocal_rank_fusion(rankings: Sequence[Sequence[int]], rrf_k: int) -> list[tuple[int, float]]:
    """Return (row, score), best first; a row's score is the sum of 1 / (rrf_k + rank), ranks from 1.

    Cormack, Clarke, Büttcher, SIGIR 2009. Equal scores keep the order in which the rows were first seen.
    """
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, row in enumerate(ranking, start=1):
            scores[row] = scores.get(row, 0.0) + 1.0 / (rrf_k + rank)
    return sorted(scores.items(), key=lambda item: -item[1])


def score_fusion(
    dense: Sequence[tuple[int, float]],
    words: Sequence[tuple[int, float]],
    cosines: Mapping[int, float],
    words_weight: float,
) -> list[tuple[int, float]]:
    """Return (row, score), best first; a row's score is z(cosine) + words_weight · BM25.

    z is by mean and standard deviation of the `dense` candidates, since cosines of one question only mean
    something against each other; BM25 is a sum of information in the words shared, so it is taken as it
    is: a stray word adds little, a rare term much, where ranks alone would make them equal. `cosines` has
    every row of either ranking (a linear combination, as in Bruch, Gai, Ingber, TOIS 2023).
    """
    known = np.array([cosine for _, cosine in dense])
    mean, deviation = (float(known.mean()), float(known.std())) if len(known) else (0.0, 0.0)
    scores = {row: words_weight * score for row, score in words}
    for row in dict.fromkeys([*(row for row, _ in dense), *scores]):
        z = (cosines[row] - mean) / deviation if deviation else 0.0
        scores[row] = scores.get(row, 0.0) + z
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))
