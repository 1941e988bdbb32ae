from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from quantserve.benchmarks.measure.validity import (
    Evidence,
    Reason,
    RunVerdict,
    judge,
    judge_steady,
    unknown,
    verdict,
)
from quantserve.benchmarks.records import Record
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
    samples=[{"t_s": 0.0, "wall_s": 1000.0}, {"t_s": 10.0, "wall_s": 1010.0}],
    summary={"other_cpu_share": 0.01, "steal_share": 0.0, "prefix_hit_share": 0.0},
    client_cpu_share=0.1,
    users=4,
    rate_per_s=None,
)


def codes(**changes: Any) -> list[str]:
    return [reason.code for reason in reasons(**changes)]


def reasons(**changes: Any) -> list[Reason]:
    """What speaks against a good cell with these changes; figures of the summary are changed one by one."""
    summary = {**GOOD.summary, **changes.pop("summary", {})}
    return judge(dataclasses.replace(GOOD, summary=summary, **changes))


def steadiness(records: list[Record], users: int | None = 4, repeats: int = 1) -> str | None:
    reason = judge_steady([records] * repeats, users)
    return None if reason is None else reason.code


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
    assert steadiness(late) == "unsteady"


def test_long_prompts_in_one_half_are_work_too() -> None:
    # A prompt of 50 tokens takes five times as long as one of 10, which is what the first half asks.
    lengths = [(50 if n < 52 else 10) for n in range(100)]
    sent, mixed = 0.0, []
    for n, length in enumerate(lengths):
        took = length / 10
        mixed.append(record(sent, (sent + took, sent + took + 0.1), task=n, prompt_tokens=length))
        sent += took if n % 4 == 3 else 0.0
    assert steadiness(mixed) is None


def test_users_in_step_are_steady_wherever_the_middle_falls() -> None:
    # Six rounds of eight users; the prompts of a round are read for three quarters of it.
    starts = (0.0, 2.0, 4.4, 6.8, 9.2, 11.2)
    waves = [
        record(begin, tuple(begin + length * (0.75 + k / 64) for k in range(1, 17)), task=n)
        for begin, length in zip(starts, (2.0, 2.4, 2.4, 2.4, 2.0, 2.0), strict=True)
        for n in range(8)
    ]
    assert steadiness(waves, users=8) is None


def test_an_open_loop_has_the_throughput_of_its_arrivals() -> None:
    assert steadiness(steady(12), users=None) is None


def test_a_short_cell_is_not_known_to_be_steady() -> None:
    assert steadiness(steady(12)) == "steadiness_unknown"
    assert steadiness(steady(12), repeats=2) == "steadiness_unknown"


def test_repeats_that_agree_make_short_cells_steady() -> None:
    assert steadiness(steady(12), repeats=3) is None


def test_repeats_that_differ_are_unsteady() -> None:
    slow = [record(2 * r.sent_s, tuple(2 * t for t in r.token_s)) for r in steady(12)]
    reason = judge_steady([steady(12), slow, steady(12)], 4)
    assert reason is not None
    assert reason.code == "unsteady"


def test_a_repeat_without_an_answer_leaves_short_cells_unknown() -> None:
    reason = judge_steady([steady(12), steady(12), [failed()]], 4)
    assert reason is not None
    assert not reason.known


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"client_cpu_share": None}, "client_unknown"),
        ({"lags": []}, "client_unknown"),
        ({"summary": {"other_cpu_share": None}}, "other_load_unknown"),
        ({"summary": {"steal_share": None}}, "steal_unknown"),
        ({"summary": {"prefix_hit_share": None}}, "cache_unknown"),
        ({"samples": []}, "not_sampled"),
        ({"records": steady(1), "users": None, "rate_per_s": 1.0}, "rate_unknown"),
    ],
)
def test_what_nobody_looked_at_is_not_fine(changes: dict[str, Any], code: str) -> None:
    found = {reason.code: reason.known for reason in reasons(**changes)}
    assert found[code] is False
    assert verdict([reason for reason in reasons(**changes) if not reason.known]) is RunVerdict.NOT_KNOWN


def test_every_figure_of_the_evidence_is_missed_when_it_is_not_there() -> None:
    """No check may take an empty hand for a good one."""
    nothing = Evidence(steady(), [], [], {}, client_cpu_share=None, users=4, rate_per_s=None)
    assert {reason.code for reason in judge(nothing)} == {
        "client_unknown",
        "cache_unknown",
        "not_sampled",
        "other_load_unknown",
    }


def test_a_bad_figure_outweighs_an_unknown_one() -> None:
    bad = Reason("failures", "5 of 9 failed")
    assert verdict([unknown("cache_unknown", "?"), bad]) is RunVerdict.NOT_VALID
    assert verdict([]) is RunVerdict.VALID


def test_why_the_other_load_is_unknown_is_said() -> None:
    found = reasons(summary={"other_cpu_share": None}, processes_unknown="the server runs on another machine")
    assert "the server runs on another machine" in found[0].text


def test_prompts_drawn_for_this_run_are_in_no_cache() -> None:
    assert codes(summary={"prefix_hit_share": None}, new_prompts=True) == []


def test_a_program_that_asks_by_itself_has_no_client_to_be_slow() -> None:
    assert codes(client_cpu_share=None, lags=[], load_processes=0) == []


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
