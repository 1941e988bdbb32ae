from __future__ import annotations

from typing import Any

import pytest

from quantserve.serving.hardware.facts import Cpu
from quantserve.serving.profiles import Profile, load_profile
from quantserve.serving.tune.space import (
    BINDING,
    KV_DTYPE,
    SPECULATION,
    Dimension,
    Value,
    candidates,
    dimensions,
    ngram,
    onward,
    value_of,
    with_changes,
)

LADDER = Dimension("max_sequences", (16, 32, 64), True, "")
CPU = Cpu("x", "y", "x86_64", (0, 1, 2, 3), None, ((0, 1, 2, 3),), 1)


@pytest.mark.parametrize(
    ("now", "expected"), [(32, (64, 16)), (16, (32,)), (64, (32,)), (40, (64, 32)), (100, (64,))]
)
def test_neighbours_on_a_ladder(now: int, expected: tuple[int, ...]) -> None:
    assert candidates(LADDER, now) == expected


@pytest.mark.parametrize(("before", "now", "expected"), [(16, 32, 64), (32, 64, None), (64, 32, 16)])
def test_a_ladder_goes_on_in_the_direction_that_won(before: int, now: int, expected: Value) -> None:
    assert onward(LADDER, before, now) == expected


def test_what_is_searched_depends_on_the_device() -> None:
    on_cpu = {d.key: d.values for d in dimensions("cpu", CPU)}
    on_gpu = {d.key for d in dimensions("gpu", CPU)}
    assert on_cpu[BINDING] == (None, "0-2", "nobind")
    assert KV_DTYPE in on_gpu - on_cpu.keys()
    assert {"max_sequences", "max_batched_tokens", "chunked_prefill", SPECULATION} <= on_gpu & on_cpu.keys()


@pytest.mark.parametrize("key", ["max_sequences", "vllm.kv-cache-dtype", "environment.X"])
def test_a_change_is_read_back_and_taken_back(key: str) -> None:
    start = Profile.model_validate({"description": "x", "device": "gpu"})
    value: Any = 7 if key == "max_sequences" else "fp8"
    changed = with_changes(start, {key: value})
    assert value_of(changed, key) == value
    if "." in key:
        assert value_of(with_changes(changed, {key: None}), key) is None


def test_every_value_makes_a_profile_that_loads() -> None:
    for name in ("cpu", "gpu-throughput"):
        profile = load_profile(name)
        for dimension in dimensions(profile.device, CPU):
            for value in dimension.values:
                changed = with_changes(profile, {dimension.key: value})
                assert value_of(changed, dimension.key) == value
    assert '"num_speculative_tokens":4' in ngram(4)
