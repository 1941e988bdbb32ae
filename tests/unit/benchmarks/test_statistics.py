from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantserve.core.stats import (
    effective_count,
    interval,
    mean_interval,
    quantile,
    quantile_interval,
    quantiles,
    resample,
)


def test_quantile_interpolates() -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0.5) == 3.5


# The smallest n with q^n <= 2.5 %: in 97.5 % of samples the largest value is then above the quantile.
@pytest.mark.parametrize(("q", "count"), [(0.5, 6), (0.9, 36), (0.95, 72), (0.99, 368)])
def test_a_quantile_is_shown_from_the_count_that_bounds_it(q: float, count: int) -> None:
    values = [float(n) for n in range(count)]
    assert quantile(values, q) is not None
    assert quantile_interval(values, q) is not None
    assert quantile(values[1:], q) is None
    assert quantile_interval(values[1:], q) is None


def test_twelve_values_have_a_median_and_no_tail() -> None:
    assert [quantile([1.0] * 12, q) for q in (0.5, 0.9, 0.95, 0.99)] == [1.0, None, None, None]


def test_the_interval_of_a_median_is_the_sign_tests() -> None:
    # Of 1 … 20: ranks 6 and 15, as in every table of the sign test.
    assert quantile_interval([float(n) for n in range(1, 21)], 0.5) == (6.0, 15.0)


@pytest.mark.parametrize("q", [0.5, 0.9, 0.95])
def test_order_statistics_cover_the_true_quantile_as_often_as_they_say(q: float) -> None:
    chance = np.random.default_rng(3)
    truth, hits = -np.log(1 - q), 0
    for _ in range(400):
        found = quantile_interval(chance.exponential(1.0, 120), q)
        assert found is not None
        hits += found[0] <= truth <= found[1]
    assert hits >= 372  # 93 %: 95 % less three standard errors of 400 trials


def test_values_of_few_answers_are_few_values() -> None:
    # Twelve answers of a hundred gaps each, every answer with gaps of its own length.
    answers = [np.full(100, 0.01 * n) for n in range(1, 13)]
    gaps = np.concatenate(answers)
    assert quantile(gaps, 0.99) is not None
    assert quantile(gaps, 0.99, answers) is None
    assert quantile(gaps, 0.95, answers) is None
    assert effective_count(answers, 0.5) < 15


def test_values_that_do_not_resemble_their_neighbours_count_in_full() -> None:
    chance = np.random.default_rng(1)
    answers = [chance.normal(size=50) for _ in range(200)]
    assert effective_count(answers, 0.5) > 8000


def test_nothing_has_no_quantile() -> None:
    assert quantile([], 0.5) is None


@given(st.lists(st.floats(-1e6, 1e6), min_size=20, max_size=60))
def test_quantiles_are_ordered_and_within_range(values: list[float]) -> None:
    found = [quantile(values, q) for q in (0.5, 0.9, 0.95)]
    known = [value for value in found if value is not None]
    assert known == sorted(known)
    assert min(values) <= known[0]
    assert known[-1] <= max(values)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_fast_quantiles_are_numpys(values: list[float]) -> None:
    qs = [0.0, 0.5, 0.9, 0.99, 1.0]
    assert quantiles(np.array(values), qs) == pytest.approx(np.quantile(values, qs), rel=1e-12, abs=1e-9)


def test_bootstrap_covers_the_true_mean_about_95_times_in_100() -> None:
    chance = np.random.default_rng(5)
    hits = 0
    for trial in range(100):
        sample = chance.normal(10.0, 2.0, 40)
        found = interval([float(s.mean()) for s in resample([sample], trial, 400)])
        assert found is not None
        hits += found[0] <= 10.0 <= found[1]
    assert 88 <= hits <= 99


def test_repeats_that_differ_widen_the_interval() -> None:
    chance = np.random.default_rng(1)
    noise = chance.normal(0.0, 0.1, 60)
    alike = [noise[:30] + 1.0, noise[30:] + 1.0]
    apart = [noise[:30] + 0.5, noise[30:] + 1.5]

    def width(groups: list[np.ndarray]) -> float:
        found = interval([float(s.mean()) for s in resample(groups, 0, 500)])
        assert found is not None
        return found[1] - found[0]

    assert width(apart) > 5 * width(alike)


def test_two_repeats_have_no_interval() -> None:
    assert mean_interval([1.0, 2.0]) is None


def test_interval_of_repeats_is_students() -> None:
    # 10 ± 4.3027 · 1 / √3
    assert mean_interval([9.0, 10.0, 11.0]) == pytest.approx((7.5159, 12.4841), abs=1e-4)
