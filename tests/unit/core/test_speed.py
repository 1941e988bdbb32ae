from __future__ import annotations

import pytest

from quantserve.core.speed import SpeedPair, crossover, sentence


def pairs(*ratios: float) -> list[SpeedPair]:
    return [SpeedPair(at, 100.0, 100.0 * ratio) for at, ratio in zip((1, 8, 32), ratios, strict=True)]


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ((2.0, 0.5, 0.4), 2.828),  # even between 1 and 8 on both logarithmic axes
        ((2.0, 1.0, 0.5), 5.657),  # as fast at 8: between 1 and 32
        ((1.2, 1.1, 1.3), None),
        ((0.5, 0.6, 0.7), None),
        ((1.0, 1.01, 0.99), None),
    ],
)
def test_crossover(ratios: tuple[float, ...], expected: float | None) -> None:
    found = crossover(pairs(*ratios))

    assert found == (None if expected is None else pytest.approx(expected, abs=1e-3))


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        (
            (2.0, 0.5, 0.4),
            "The artifact is faster than the base at a concurrency of 1 (×2.00); slower than the base at a "
            "concurrency of 8 (×0.50) and 32 (×0.40). The two cross at about 3 concurrent requests.",
        ),
        (
            (1.5, 1.2, 1.1),
            "The artifact is faster than the base at a concurrency of 1 (×1.50), 8 (×1.20) and 32 (×1.10).",
        ),
        (
            (1.0, 1.0, 0.5),
            "The artifact is as fast as the base at a concurrency of 1 (×1.00) and 8 (×1.00); slower than "
            "the base at a concurrency of 32 (×0.50).",
        ),
    ],
)
def test_sentence(ratios: tuple[float, ...], said: str) -> None:
    assert sentence(pairs(*ratios)) == said


def test_nothing_measured_is_said() -> None:
    assert sentence([]) == "Its speed was not measured."


def test_rounds_that_disagree_tell_neither_faster_nor_slower() -> None:
    torn = SpeedPair(8, 100.0, 120.0, low=0.9, high=1.4)
    sure = SpeedPair(8, 100.0, 120.0, low=1.1, high=1.3)
    assert sentence([torn]) == "The artifact is as fast as the base at a concurrency of 8 (×1.20)."
    assert sentence([sure]).startswith("The artifact is faster")
