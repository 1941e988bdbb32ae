"""Fusion by scores: what it must do with candidates of one ranking, of none, and of equal cosines."""

import pytest

from quantserve.rag.retrieve.fusion import score_fusion


def test_scores_are_standard_deviations_of_cosine_plus_weighted_bm25() -> None:
    # cosines .9 and .7: mean .8, deviation .1
    fused = score_fusion([(1, 0.9), (2, 0.7)], [(2, 6.0), (3, 1.0)], {1: 0.9, 2: 0.7, 3: 0.6}, 0.5)
    assert [row for row, _ in fused] == [2, 1, 3]
    assert [score for _, score in fused] == pytest.approx([2.0, 1.0, -1.5])


def test_a_stray_word_does_not_lift_a_passage_over_one_that_is_much_closer() -> None:
    fused = score_fusion([(1, 0.9), (2, 0.8), (3, 0.8)], [(3, 0.4)], {1: 0.9, 2: 0.8, 3: 0.8}, 0.5)
    assert [row for row, _ in fused] == [1, 3, 2]


@pytest.mark.parametrize(
    ("dense", "words", "expected"),
    [
        ([], [], []),
        ([(4, 0.8)], [], [(4, 0.0)]),
        ([(4, 0.8), (2, 0.8)], [], [(2, 0.0), (4, 0.0)]),
        ([], [(7, 2.0)], [(7, 1.0)]),
    ],
)
def test_few_or_equal_candidates(
    dense: list[tuple[int, float]], words: list[tuple[int, float]], expected: list[tuple[int, float]]
) -> None:
    cosines = {**dict(dense), **{row: 0.5 for row, _ in words}}
    assert score_fusion(dense, words, cosines, 0.5) == expected
