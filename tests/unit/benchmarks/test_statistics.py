from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.metrics.statistics import interval, mean_interval, quantile, quantiles, resample


def test_quantile_interpolates() -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.5


@pytest.mark.parametrize(("count", "known"), [(99, False), (100, True)])
def test_p99_needs_a_hundred_values(count: int, known: bool) -> None:
    assert (quantile([1.0] * count, 0.99) is not None) is known


@pytest.mark.parametrize(("count", "known"), [(19, False), (20, True)])
def test_p95_needs_twenty_values(count: int, known: bool) -> None:
    assert (quantile([1.0] * count, 0.95) is not None) is known


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


def test_interval_of_repeats_holds_their_mean() -> None:
    found = mean_interval([9.0, 10.0, 11.0])
    assert found is not None
    assert found[0] < 10.0 < found[1]
