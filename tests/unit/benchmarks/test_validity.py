from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from benchmarks.records import Record
from benchmarks.validity import Evidence, judge
from tests.unit.benchmarks.build import failed, record


def steady(count: int = 100, users: int = 4) -> list[Record]:
    """Users that send without a pause, one answer a second each."""
    return [
        record(n // users + 0.0, tuple(n // users + 0.1 * k for k in range(1, 11)), task=n)
        for n in range(count)
    ]


GOOD = Evidence(
    records=steady(),
    lags=[0.001] * 100,
    samples=[],
    summary={},
    client_cpu_share=0.1,
    users=4,
    rate_per_s=None,
)


def codes(**changes: Any) -> list[str]:
    return [reason.code for reason in judge(dataclasses.replace(GOOD, **changes))]


def test_a_good_run_is_valid() -> None:
    assert codes() == []


def test_a_busy_client() -> None:
    assert codes(client_cpu_share=0.95) == ["client_saturated"]


def test_a_late_client() -> None:
    assert codes(lags=[0.001] * 95 + [0.2] * 5) == ["client_late"]


def test_lag_is_forgiven_beside_a_long_ttft() -> None:
    slow = [record(n * 1.0, (n + 10.0, n + 10.5), task=n) for n in range(30)]
    assert codes(records=slow, lags=[0.001] * 95 + [0.2] * 5, users=None) == []


def test_a_rate_that_was_not_sent() -> None:
    records = [record(n * 0.2, (n * 0.2 + 0.1,), intended=n * 0.1, task=n) for n in range(50)]
    assert codes(records=records, users=None, rate_per_s=10.0) == ["rate_not_delivered"]


def test_too_few() -> None:
    assert codes(records=steady(8)) == ["too_few_requests"]


def test_failures_above_the_limit() -> None:
    assert codes(records=[*steady(), *(failed(12.0) for _ in range(3))]) == ["failures"]


def test_one_failure_in_a_hundred_is_allowed() -> None:
    assert codes(records=[*steady(), failed(12.0)]) == []


def test_a_warm_cache_by_the_servers_metrics() -> None:
    assert codes(summary={"prefix_hit_share": 0.4}) == ["warm_cache"]


def test_a_warm_cache_by_usage() -> None:
    warm = [dataclasses.replace(r, cached_tokens=8) for r in steady()]
    assert codes(records=warm) == ["warm_cache"]


def test_hits_the_workload_plans_are_fine() -> None:
    assert codes(summary={"prefix_hit_share": 0.8}, shared_tokens=800) == []


def test_conversations_hit_their_own_history() -> None:
    assert codes(summary={"prefix_hit_share": 0.8}, single_turn=False) == []


def test_throughput_that_halves() -> None:
    def slower(time_s: float) -> float:
        return time_s + max(0.0, time_s - 13)

    late = [
        record(slower(r.sent_s), tuple(map(slower, r.token_s)), task=number)
        for number, r in enumerate(steady())
    ]
    assert codes(records=late) == ["unsteady"]


def test_long_prompts_in_one_half_are_work_too() -> None:
    # A prompt of 50 tokens takes five times as long as one of 10, which is what the first half asks.
    lengths = [(50 if n < 52 else 10) for n in range(100)]
    sent, mixed = 0.0, []
    for n, length in enumerate(lengths):
        took = length / 10
        mixed.append(record(sent, (sent + took, sent + took + 0.1), task=n, prompt_tokens=length))
        sent += took if n % 4 == 3 else 0.0
    assert codes(records=mixed) == []


def test_users_in_step_are_steady_wherever_the_middle_falls() -> None:
    # Six rounds of eight users; the prompts of a round are read for three quarters of it.
    starts = (0.0, 2.0, 4.4, 6.8, 9.2, 11.2)
    waves = [
        record(begin, tuple(begin + length * (0.75 + k / 64) for k in range(1, 17)), task=n)
        for begin, length in zip(starts, (2.0, 2.4, 2.4, 2.4, 2.0, 2.0), strict=True)
        for n in range(8)
    ]
    assert codes(records=waves, users=8) == []


def test_stamps_out_of_order() -> None:
    bad = steady()
    bad[3].token_s[0] = 99.0
    assert codes(records=bad) == ["clock"]


def test_a_stepped_clock() -> None:
    samples = [{"t_s": 0.0, "wall_s": 1000.0}, {"t_s": 10.0, "wall_s": 1013.0}]
    assert codes(samples=samples) == ["clock"]


@pytest.mark.parametrize(
    ("name", "code"), [("other_cpu_share", "busy_machine"), ("steal_share", "stolen_cpu")]
)
def test_a_machine_that_does_other_things(name: str, code: str) -> None:
    assert codes(summary={name: 0.3}) == [code]
