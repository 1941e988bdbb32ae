"""Merge rankings: reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009)."""

from __future__ import annotations

from collections.abc import Sequence


def reciprocal_rank_fusion(rankings: Sequence[Sequence[int]], rrf_k: int) -> list[tuple[int, float]]:
    """Return (row, score), best first; a row's score is the sum of 1 / (rrf_k + rank), ranks from 1.

    Equal scores keep the order in which the rows were first seen.
    """
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, row in enumerate(ranking, start=1):
            scores[row] = scores.get(row, 0.0) + 1.0 / (rrf_k + rank)
    return sorted(scores.items(), key=lambda item: -item[1])
