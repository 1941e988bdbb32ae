"""The FAISS index: exact below a size, inverted lists above, filters exact in both."""

import numpy as np
import pytest

from quantserve.rag.store.vectors import Floats, build_index, search_index


def clustered(count: int, seed: int) -> Floats:
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(40, 24))
    rows = (centres[chance.integers(0, 40, count)] + 0.5 * chance.normal(size=(count, 24))).astype(np.float32)
    unit: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


VECTORS, QUERIES = clustered(10_000, 1), clustered(30, 2)


@pytest.mark.parametrize(
    ("flat_max", "kind", "recall"), [(10_000, "IndexFlatIP", 1.0), (9_999, "IndexIVFFlat", 0.95)]
)
def test_the_nearest_are_found(flat_max: int, kind: str, recall: float) -> None:
    index = build_index(VECTORS, flat_max)
    assert type(index).__name__ == kind
    found = 0
    for query in QUERIES:
        exact = set(np.argsort(-(VECTORS @ query))[:10].tolist())
        ranked = search_index(index, query, 10)
        scores = [score for _, score in ranked]
        assert scores == sorted(scores, reverse=True)
        found += len(exact & {row for row, _ in ranked})
    assert found / (10 * len(QUERIES)) >= recall


@pytest.mark.parametrize("flat_max", [10_000, 9_999])
def test_a_filter_is_exact_however_far_its_rows_lie(flat_max: int) -> None:
    index = build_index(VECTORS, flat_max)
    among = np.argsort(VECTORS @ QUERIES[0])[:7].astype(np.int64)  # the farthest there are
    assert [row for row, _ in search_index(index, QUERIES[0], 5, among)] == among[::-1][:5].tolist()
    assert len(search_index(index, QUERIES[0], 99, among)) == 7
    assert search_index(index, QUERIES[0], 5, np.array([], np.int64)) == []
    assert np.allclose(index.reconstruct_batch(np.array([3, 1])), VECTORS[[3, 1]], atol=1e-6)


def test_an_empty_index_finds_nothing_and_more_than_there_is_finds_all() -> None:
    assert search_index(build_index(np.empty((0, 24), np.float32)), QUERIES[0], 5) == []
    assert len(search_index(build_index(VECTORS[:3]), QUERIES[0], 99)) == 3
