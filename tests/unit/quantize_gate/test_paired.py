"""McNemar's exact test and the divergence rate, against values worked out by hand."""

from __future__ import annotations

import pytest

from quantserve.quantize.gate.facts.comparing import (
    Divergence,
    Paired,
    divergence_of,
    p_of_losses,
    pair_marks,
)


@pytest.mark.parametrize(
    ("lost", "won", "p"),
    [
        (0, 0, 1.0),
        (0, 7, 1.0),
        (4, 0, 1 / 16),
        (5, 0, 1 / 32),
        (5, 1, 7 / 64),  # of 2^6: one way for six losses, six for five
        (8, 2, 56 / 1024),  # 45 + 10 + 1
        (9, 2, 67 / 2048),  # 55 + 11 + 1
        (3, 3, 42 / 64),  # 20 + 15 + 6 + 1
    ],
)
def test_the_p_value_of_losses(lost: int, won: int, p: float) -> None:
    assert p_of_losses(lost, won) == pytest.approx(p)


def test_many_prompts_are_no_trouble() -> None:
    assert p_of_losses(2000, 2000) == pytest.approx(0.506, abs=0.001)


def test_only_prompts_that_changed_count() -> None:
    before = [True] * 10 + [True, True, False] + [False] * 10
    after = [True] * 10 + [False, False, True] + [False] * 10
    found = pair_marks(before, after)
    assert found == Paired(asked=23, before=12, after=11, lost=2, won=1)
    assert found.p == 0.5


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([[1, 2, 3]], [[1, 2, 3]], Divergence(1, 0, 3)),
        ([[1, 2, 3]], [[1, 9, 3]], Divergence(1, 1, 2)),  # what follows answers another text
        ([[1, 2]], [[1, 2, 3]], Divergence(1, 1, 3)),  # it goes on where the other ends
        ([[1, 2, 3]], [[1, 2]], Divergence(1, 1, 3)),
        ([[1], [1, 2, 3, 4]], [[1], [1, 2, 3, 5]], Divergence(2, 1, 5)),
        ([], [], Divergence(0, 0, 0)),
    ],
)
def test_where_answers_part(before: list[list[int]], after: list[list[int]], expected: Divergence) -> None:
    assert divergence_of(before, after) == expected


def test_rates() -> None:
    assert Divergence(answers=4, parted=1, tokens=50).rate == 0.02
    assert Divergence(answers=4, parted=1, tokens=50).same_share == 0.75
    assert Divergence(0, 0, 0).rate == 0.0
