"""The judgements of `serving`, `guard` and `soak`, on figures written down here."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from quantserve.benchmarks.errors import ServerUnusable, TargetMissed
from quantserve.benchmarks.load.faults import FaultCounts, malformed
from quantserve.benchmarks.scenarios import guard, serving, soak
from quantserve.benchmarks.scenarios.guard import PlannedServer, without_guard
from quantserve.benchmarks.scenarios.soak import SoakOptions, SoakWindow, halves
from quantserve.core.stats import paired_ratio, typical


def point(subject: str, users: int, *speeds: float) -> dict[str, Any]:
    return {"subject": subject, "users": users, "figures": {"output_tps_by_repeat": list(speeds)}}


def test_ratio_is_of_medians_and_its_interval_of_whole_pairs() -> None:
    ratio, interval = paired_ratio([(200, 100), (20, 10), (300, 150), (2, 1), (100, 50)])
    assert ratio == 2.0
    assert interval == (2.0, 2.0)  # every pair says two, however much the machine changed between them
    assert paired_ratio([(3, 2), (5, 2)]) == (2.0, None)
    assert typical([1.0, 9.0, 2.0])[0] == 2.0


def judged(*points: dict[str, Any]) -> list[bool]:
    return [one.met for one in serving.outcomes(points, heavy=1.6, light=1.0)]


def test_serving_meets_its_targets() -> None:
    plain = [point(serving.PLAIN, 1, 10, 10, 10), point(serving.PLAIN, 32, 100, 100, 100)]
    assert judged(point(serving.OURS, 1, 11, 12, 11), point(serving.OURS, 32, 170, 171, 169), *plain) == [
        True,
        True,
    ]
    slower = [point(serving.OURS, 1, 9, 8, 9), point(serving.OURS, 32, 150, 150, 150)]
    assert judged(*slower, *plain) == [False, False]
    with pytest.raises(TargetMissed, match=r"0\.900 times"):
        serving.judge(serving.outcomes([*slower, *plain], 1.6, 1.0))


def test_serving_forgives_noise_at_one_user_but_not_at_many() -> None:
    plain = [point(serving.PLAIN, 1, 10, 10, 10), point(serving.PLAIN, 32, 100, 100, 100)]
    noisy = [point(serving.OURS, 1, 9.9, 10.3, 9.8), point(serving.OURS, 32, 159, 180, 158)]
    assert judged(*noisy, *plain) == [True, False]


def test_serving_needs_both_servers() -> None:
    assert serving.outcomes([point(serving.OURS, 32, 100)], 1.6, 1.0) == []
    with pytest.raises(TargetMissed):
        serving.judge([])


@pytest.mark.parametrize(
    ("rounds", "met"),
    [
        ([(0.001, 0.002, 0.0012, 0.0025)] * 3, True),
        ([(0.001, 0.002, 0.0014, 0.0025)] * 3, False),  # 0.4 ms more at the median
        ([(0.001, 0.002, 0.0012, 0.0031)] * 3, False),  # 1.1 ms more at p99
        ([(0.001, 0.002, 0.0012, 0.0025)] * 2 + [(0.001, 0.002, 0.9, 0.9)], True),  # one disturbed round
    ],
)
def test_guard_cost_is_judged_by_the_typical_round(rounds: list[tuple[float, ...]], met: bool) -> None:
    assert guard.path_cost("x", rounds, median_s=0.0003, p99_s=0.001).met is met


@pytest.mark.parametrize(
    ("speeds", "met"), [((99, 101, 100), True), ((90, 91, 92), False), ((98, 97, 103), True)]
)
def test_guard_may_cost_no_tokens(speeds: tuple[float, ...], met: bool) -> None:
    assert guard.speed([point("bare", 32, 100, 100, 100), point("guarded", 32, *speeds)]).met is met


def test_bare_engine_is_the_planned_one_without_its_guard() -> None:
    argv = ["py", "-m", "x", "--middleware", "Guard", "--port", "1"]
    found = without_guard(PlannedServer(argv, {"QUANTSERVE_GUARD": "{}", "A": "1"}, "m"))
    assert found == PlannedServer(["py", "-m", "x", "--port", "1"], {"A": "1"}, "m")
    with pytest.raises(ServerUnusable):
        without_guard(found)


IDLE = {"decodes": True, "running": 0.0, "waiting": 0.0}
GOOD = SoakWindow(100.0, 60.0, 1e9, 200.0, 0.0, 0, 50)


def broken(
    parts: list[SoakWindow], left: dict[str, Any] = IDLE, seen: dict[str, int] | None = None
) -> list[str]:
    counts = FaultCounts(left=5, malformed=9, statuses=Counter({"4xx": 9, **(seen or {})}))
    return [check.name for check in soak.judge(parts, counts, left, SoakOptions()) if not check.met]


def test_a_sound_soak_keeps_every_promise() -> None:
    assert broken([GOOD] * 10) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"memory_bytes": 1.2e9}, "memory"),
        ({"descriptors": 300.0}, "descriptors"),
        ({"tokens_ps": 70.0}, "output tok/s"),
        ({"failed": 1}, "failed requests"),
        ({"memory_bytes": None}, "memory"),
        ({"descriptors": None}, "descriptors"),
    ],
)
def test_a_soak_sees_what_wears_out(change: dict[str, Any], name: str) -> None:
    assert broken([GOOD] * 6 + [replace(GOOD, **change)] * 4) == [name]


def test_on_a_busy_machine_a_soak_judges_what_a_token_costs() -> None:
    busy = replace(GOOD, other_share=0.3)
    unknown = replace(busy, other_share=None)
    assert broken([unknown] * 6 + [replace(unknown, tokens_ps=50.0)] * 4) == []
    assert broken([busy] * 6 + [replace(busy, tokens_ps=50.0)] * 4) == []
    assert len(broken([busy] * 6 + [replace(busy, tokens_per_cpu_s=40.0)] * 4)) == 1


def test_a_soak_sees_bad_answers_and_what_is_left_over() -> None:
    assert broken([GOOD] * 10, IDLE, {"5xx": 1}) == ["bad answers to malformed requests"]
    assert broken([GOOD] * 10, {**IDLE, "running": 2.0}) == ["afterwards"]
    assert broken([GOOD] * 10, {**IDLE, "decodes": False}) == ["afterwards"]
    assert broken([GOOD] * 10, {**IDLE, "running": None}) == ["afterwards"]


def test_halves_leave_the_warm_up_out() -> None:
    assert halves([9, 9, 1, 1, 1, 1, 2, 2, 2, 2]) == (1, 2)
    assert halves([3]) == (3, 3)


def test_malformed_requests_are_of_many_kinds_and_all_whole_heads() -> None:
    chance = random.Random(3)
    made = [malformed("m", chance) for _ in range(300)]
    assert len(set(made)) > 150
    assert all(b"\r\n\r\n" in one and b"HTTP/1.1" in one.splitlines()[0] for one in made)
