"""Rank metrics of one question. A place that answers counts once, in however many chunks it stands.

`places` holds, for every place that answers, the rows that hold it; `ranking` is the rows found, best first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Places = Sequence[frozenset[int]]


def first_ranks(ranking: Sequence[int], places: Places) -> list[int | None]:
    """Return each place's best rank, from 1; None where it was not found."""
    return [
        next((rank for rank, row in enumerate(ranking, start=1) if row in place), None) for place in places
    ]


def hit_at(ranking: Sequence[int], places: Places, k: int) -> float:
    """1.0 when any place stands among the first `k`."""
    return float(any(rank is not None and rank <= k for rank in first_ranks(ranking, places)))


def recall_at(ranking: Sequence[int], places: Places, k: int) -> float:
    """Share of the places that stand among the first `k`."""
    ranks = first_ranks(ranking, places)
    return sum(rank is not None and rank <= k for rank in ranks) / len(ranks)


def reciprocal_rank(ranking: Sequence[int], places: Places) -> float:
    """1 / the rank of the first place found; 0.0 without any (its mean is MRR)."""
    ranks = [rank for rank in first_ranks(ranking, places) if rank is not None]
    return 1.0 / min(ranks) if ranks else 0.0


def ndcg_at(ranking: Sequence[int], places: Places, k: int) -> float:
    """Normalised discounted cumulative gain with gains of 0 and 1 (Järvelin and Kekäläinen, 2002).

    Two places in one chunk share its rank; the ideal ranking then has them at one rank, too.
    """
    found = {rank for rank in first_ranks(ranking, places) if rank is not None and rank <= k}
    distinct = min(len({frozenset(place) for place in places}), k)
    ideal = sum(1.0 / math.log2(rank + 1) for rank in range(1, distinct + 1))
    return min(1.0, sum(1.0 / math.log2(rank + 1) for rank in found) / ideal)
