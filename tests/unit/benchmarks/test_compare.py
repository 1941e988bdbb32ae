from __future__ import annotations

import random

import pytest

from quantserve.benchmarks.errors import BadOption
from quantserve.benchmarks.measure.metrics import Slo
from quantserve.benchmarks.records import Record
from quantserve.benchmarks.report.change import batch_means, change, parse_limit
from quantserve.benchmarks.report.compare import match
from tests.unit.benchmarks.build import failed, record


def cell(ttft: float, seed: int, count: int = 60, name: str = "c") -> list[Record]:
    chance = random.Random(seed)
    out = []
    for number in range(count):
        first = number + ttft * chance.uniform(0.8, 1.2)
        out.append(record(float(number), (first, first + 0.1, first + 0.2), task=number, cell=name))
    return out


def test_a_real_change_is_significant() -> None:
    found = change("ttft_p50", cell(0.1, 1), cell(0.2, 2), Slo())
    assert found.share == pytest.approx(1.0, abs=0.15)
    assert found.significant is True


def test_noise_is_not() -> None:
    assert change("ttft_p50", cell(0.1, 1), cell(0.1, 2), Slo()).significant is False


def test_too_little_data_is_unknown() -> None:
    assert change("ttft_p50", cell(0.1, 1, 3), cell(0.2, 2, 3), Slo()).significant is None


def test_a_rate_by_batch_means() -> None:
    values = batch_means(cell(0.1, 1, 100), "requests_ps")
    assert len(values) == 10
    assert sum(values) / 10 == pytest.approx(1.0, rel=0.03)


def test_failures_are_compared_as_shares() -> None:
    found = change("failure_share", [record()], [record(), failed()], Slo())
    assert (found.a, found.b) == (0.0, 0.5)


@pytest.mark.parametrize(
    ("text", "a", "b", "broken"),
    [
        ("ttft_p95>+10%", 1.0, 1.2, True),
        ("ttft_p95>+10%", 1.0, 1.05, False),
        ("output_tps<-5%", 100.0, 90.0, True),
        ("output_tps<-5%", 100.0, 99.0, False),
        ("e2e_p99>500ms", None, 0.6, True),
        ("e2e_p99>2s", 9.0, 1.9, False),
        ("failure_share>1%", 0.0, 0.02, True),
        ("ttft_p50>+10%", None, 1.0, None),
        ("ttft_p50>+10%", 1.0, None, None),
    ],
)
def test_limits(text: str, a: float | None, b: float | None, broken: bool | None) -> None:
    assert parse_limit(text).broken_by(a, b) is broken


@pytest.mark.parametrize("text", ["ttft_p95", "ttft_p95>", "speed>+1%", "ttft_p95>+10ms", "ttft_p95>=1%"])
def test_bad_limits_are_refused(text: str) -> None:
    with pytest.raises(BadOption):
        parse_limit(text)


def test_single_subjects_are_paired_whatever_their_name() -> None:
    a, b = {("old", "w", "closed:1"): 0}, {("new", "w", "closed:1"): 0, ("new", "w", "closed:2"): 0}
    assert match(a, b) == [(("old", "w", "closed:1"), ("new", "w", "closed:1"))]


def test_several_subjects_are_paired_by_name() -> None:
    a = {("x", "w", "l"): 0, ("y", "w", "l"): 0}
    b = {("y", "w", "l"): 0, ("z", "w", "l"): 0}
    assert match(a, b) == [(("y", "w", "l"), ("y", "w", "l"))]
