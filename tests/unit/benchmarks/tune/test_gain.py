from __future__ import annotations

import pytest

from quantserve.benchmarks.tune.search import PairVerdict, StoppingRule, gain, judge

RULE = StoppingRule(least_gain=0.02, first_look=3, most_pairs=5, hopeless=0.9)


@pytest.mark.parametrize(
    ("pairs", "verdict"),
    [
        ([], PairVerdict.GO_ON),
        ([(120, 100)], PairVerdict.GO_ON),  # one pair never wins
        ([(80, 100)], PairVerdict.STAYS),  # hopeless at once
        ([(95, 100)], PairVerdict.GO_ON),
        ([(0, 100)], PairVerdict.STAYS),  # it failed requests
        ([(120, 100), (121, 100), (119, 100)], PairVerdict.WINS),
        ([(120, 100), (90, 100), (150, 100)], PairVerdict.GO_ON),  # faster on average, but noise is larger
        ([(120, 100), (90, 100), (150, 100), (95, 100), (125, 100)], PairVerdict.STAYS),  # and it stays so
        ([(101, 100), (101.1, 100), (100.9, 100)], PairVerdict.STAYS),  # sure, but too little
        ([(1, 0), (1, 0), (1, 0)], PairVerdict.WINS),  # only the candidate meets the limits
        ([(0, 0)], PairVerdict.STAYS),
    ],
)
def test_a_candidate_must_win_by_more_than_the_noise(
    pairs: list[tuple[float, float]], verdict: PairVerdict
) -> None:
    assert judge(pairs, RULE) is verdict


def test_gain_has_students_interval_of_the_log_ratios() -> None:
    found = gain([(1.1, 1.0), (1.2, 1.0), (1.3, 1.0)])
    assert found.ratio == pytest.approx(1.1972, abs=1e-4)
    # logs 0.09531, 0.18232, 0.26236; mean 0.18000, deviation 0.08355; 4.303 × 0.08355 ÷ √3 = 0.20757
    assert found.low == pytest.approx(0.9728, abs=1e-3)
    assert found.high == pytest.approx(1.4734, abs=1e-3)
