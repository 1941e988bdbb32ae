from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantserve.benchmarks.errors import BadOption, BadRun
from quantserve.benchmarks.load import arrivals
from quantserve.benchmarks.load.arrivals import parse_load
from quantserve.benchmarks.scenarios import one_server


def test_constant_is_evenly_spaced() -> None:
    assert arrivals.constant(4.0, 3) == [0.0, 0.25, 0.5]


def test_burst_comes_in_groups_at_the_same_average_rate() -> None:
    assert arrivals.burst(2.0, 6, 3) == [0.0, 0.0, 0.0, 1.5, 1.5, 1.5]


def test_poisson_has_the_rate_and_exponential_gaps() -> None:
    times = arrivals.poisson(50.0, 20_000, seed=1)
    gaps = [b - a for a, b in zip([0.0, *times], times, strict=False)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(0.02, rel=0.03)
    assert spread == pytest.approx(mean, rel=0.03)


def test_burstier_gaps_spread_wider_at_the_same_rate() -> None:
    times = arrivals.gamma(50.0, 20_000, 1, 0.25)
    gaps = [b - a for a, b in zip([0.0, *times], times, strict=False)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(0.02, rel=0.05)
    assert spread / mean == pytest.approx(2.0, rel=0.1)


@given(st.integers(0, 2**31))
def test_a_seed_repeats(seed: int) -> None:
    assert arrivals.poisson(3.0, 20, seed) == arrivals.poisson(3.0, 20, seed)


def test_trace_starts_at_zero_and_can_be_sped_up(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"timestamp_ms": 5000}\n\n{"timestamp": 9, "x": 1}\n{"timestamp": 6}\n')
    assert arrivals.trace(path, 2.0) == [0.0, 0.5, 2.0]


@pytest.mark.parametrize("line", ["{}", "nothing", '{"timestamp": NaN}', '{"timestamp": "soon"}'])
def test_a_bad_trace_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(BadRun):
        arrivals.trace(path)


@pytest.mark.parametrize(
    "text",
    ["closed", "closed:0", "closed:1.5", "closed:3x2", "poisson:0", "poisson:-1", "x:1", "constant:1.2.3"],
)
def test_a_bad_load_is_refused(text: str) -> None:
    with pytest.raises(BadOption):
        parse_load(text)


def test_closed_loops_have_no_times() -> None:
    load = parse_load("closed:8")
    assert load.users == 8
    assert load.arrivals(5, 1) is None


def test_burst_size_is_read() -> None:
    assert parse_load("burst:2x3").arrivals(4, 1) == [0.0, 0.0, 0.0, 1.5]


def test_a_trace_load_knows_its_rate(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(json.dumps({"timestamp": n}) for n in range(5)))
    load = parse_load(f"trace:{path}@2")
    assert load.arrivals(3, 0) == [0.0, 0.5, 1.0]
    assert load.rate_per_s == pytest.approx(2.5)


def test_ladder_ends_with_the_highest() -> None:
    assert one_server.users_ladder(12) == [1, 2, 4, 8, 12]


def test_knee_is_the_highest_power() -> None:
    points = [
        one_server.LoadPoint(1, 10.0, 1.0),
        one_server.LoadPoint(4, 38.0, 1.1),
        one_server.LoadPoint(8, 60.0, 1.5),
        one_server.LoadPoint(16, 62.0, 3.0),
    ]
    found = one_server.knee(points)
    assert found is not None
    assert found.offered == 8


@pytest.mark.parametrize("limit", [0.3, 1.0, 3.7, 20.0])
def test_search_finds_the_highest_rate(limit: float) -> None:
    points: list[one_server.LoadPoint] = []
    while (rate := one_server.next_rate(points)) is not None:
        points.append(one_server.LoadPoint(rate, 1.0, 1.0, meets_slo=rate <= limit))
        assert len(points) < 20
    found = one_server.highest_passing(points)
    assert found is not None
    assert limit / 1.1 <= found <= limit


def test_search_gives_up_when_nothing_passes() -> None:
    points: list[one_server.LoadPoint] = []
    while (rate := one_server.next_rate(points)) is not None:
        points.append(one_server.LoadPoint(rate, 0.0, 9.0, meets_slo=False))
    assert one_server.highest_passing(points) is None
