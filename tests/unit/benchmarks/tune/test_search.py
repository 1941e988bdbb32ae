"""The search over engines of known speed, with and without noise."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from quantserve.benchmarks.tune.search import (
    Comparison,
    PairVerdict,
    SearchResult,
    StoppingRule,
    gain,
    judge,
    search,
)
from quantserve.benchmarks.tune.space import BINDING, Changes, Dimension
from quantserve.serving.profiles import Profile
from tests.unit.benchmarks.tune.build import settings

START = settings(Profile.model_validate({"description": "x", "device": "cpu", "max_sequences": 64}))
SEQUENCES = Dimension("max_sequences", (16, 32, 64, 128, 256, 512), True, "")
BIND = Dimension(BINDING, (None, "0", "nobind"), False, "")
Speed = Callable[[Profile], float]


def run(speed: Speed, *dimensions: Dimension, noise: float = 0.0, comparisons: int = 1000) -> SearchResult:
    chance = random.Random(11)
    made = 0

    def once(changes: Changes) -> float:
        return speed(Profile.model_validate(START.changed(changes))) * chance.lognormvariate(0, noise)

    def compare(candidate: Changes, incumbent: Changes) -> Comparison:
        nonlocal made
        made += 1
        pairs: list[tuple[float, float]] = []
        while (verdict := judge(pairs, StoppingRule())) is PairVerdict.GO_ON:
            pairs.append((once(candidate), once(incumbent)))
        return Comparison(incumbent, candidate, verdict, gain(pairs), tuple(pairs))

    return search(dimensions, START, compare, compare, lambda: made >= comparisons)


def test_a_ladder_is_climbed_while_it_wins() -> None:
    found = run(lambda profile: min(profile.max_sequences, 256), SEQUENCES)
    assert found.changes == {"max_sequences": 256}
    assert found.confirmed is not None
    assert found.confirmed.gain.ratio == pytest.approx(4.0)
    assert [one.candidate["max_sequences"] for one in found.tried] == [128, 256, 512]


def test_a_ladder_is_climbed_down_too() -> None:
    found = run(lambda profile: 1000 / profile.max_sequences, SEQUENCES)
    assert found.changes == {"max_sequences": 16}


def test_settings_are_searched_on_top_of_what_won() -> None:
    def speed(profile: Profile) -> float:
        bound = 2.0 if profile.environment.get("VLLM_CPU_OMP_THREADS_BIND") == "nobind" else 1.0
        return bound * (1.5 if profile.max_sequences == 128 and bound == 2.0 else 1.0)

    found = run(speed, BIND, SEQUENCES)
    assert found.changes == {BINDING: "nobind", "max_sequences": 128}


def test_noise_alone_changes_nothing() -> None:
    found = run(lambda _: 100.0, BIND, SEQUENCES, noise=0.1)
    assert found.changes == {}


def test_a_real_gain_is_found_in_noise() -> None:
    found = run(lambda p: 160.0 if p.max_sequences == 128 else 100.0, SEQUENCES, noise=0.05)
    assert found.changes == {"max_sequences": 128}


def test_what_won_by_luck_is_not_confirmed() -> None:
    outcomes = iter([(120.0, 100.0)] * 3 + [(100.0, 100.0)] * 3 + [(100.0, 100.0)] * 3)

    def compare(candidate: Changes, incumbent: Changes) -> Comparison:
        pairs = [next(outcomes) for _ in range(3)]
        return Comparison(incumbent, candidate, judge(pairs, StoppingRule()), gain(pairs), tuple(pairs))

    found = search([SEQUENCES], START, compare, compare)
    assert found.changes == {}
    assert found.confirmed is not None


def test_time_that_is_over_ends_the_search_with_what_was_found() -> None:
    found = run(lambda p: float(p.max_sequences), SEQUENCES, BIND, comparisons=2)
    assert not found.complete
    assert found.changes == {"max_sequences": 256}
