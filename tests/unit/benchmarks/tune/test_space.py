from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quantserve.benchmarks.tune.files import profile_yaml
from quantserve.benchmarks.tune.space import (
    BINDING,
    KV_DTYPE,
    SPECULATION,
    Dimension,
    Value,
    candidates,
    dimensions,
    ngram,
    onward,
)
from quantserve.serving.profiles import Profile, load_profile
from tests.unit.benchmarks.tune.build import settings

LADDER = Dimension("max_sequences", (16, 32, 64), True, "")
PROCESSORS = (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("now", "expected"), [(32, (64, 16)), (16, (32,)), (64, (32,)), (40, (64, 32)), (100, (64,))]
)
def test_neighbours_on_a_ladder(now: int, expected: tuple[int, ...]) -> None:
    assert candidates(LADDER, now) == expected


@pytest.mark.parametrize(("before", "now", "expected"), [(16, 32, 64), (32, 64, None), (64, 32, 16)])
def test_a_ladder_goes_on_in_the_direction_that_won(before: int, now: int, expected: Value) -> None:
    assert onward(LADDER, before, now) == expected


def test_what_is_searched_depends_on_the_device() -> None:
    on_cpu = {d.key: d.values for d in dimensions("cpu", PROCESSORS, 4)}
    on_gpu = {d.key for d in dimensions("gpu", PROCESSORS, 4)}
    assert on_cpu[BINDING] == (None, "0-2", "nobind")
    assert KV_DTYPE in on_gpu - on_cpu.keys()
    assert {"max_sequences", "max_batched_tokens", "chunked_prefill", SPECULATION} <= on_gpu & on_cpu.keys()


@pytest.mark.parametrize(
    ("ids", "binding"), [((0, 1), "0"), ((0, 1, 2, 3, 8, 9), "0-3,8"), ((4, 6, 8), "4,6"), ((2, 3, 5), "2-3")]
)
def test_all_processors_but_the_last_are_written_as_the_kernel_does(
    ids: tuple[int, ...], binding: str
) -> None:
    found = {d.key: d.values for d in dimensions("cpu", ids, len(ids))}
    assert found[BINDING] == (None, binding, "nobind")


@pytest.mark.parametrize("key", ["max_sequences", "vllm.kv-cache-dtype", "environment.X"])
def test_a_change_is_read_back_and_taken_back(key: str) -> None:
    start = settings(Profile.model_validate({"description": "x", "device": "gpu"}))
    value: Any = 7 if key == "max_sequences" else "fp8"
    changed = settings(Profile.model_validate(start.changed({key: value})))
    assert (changed.value(key), start.value(key, {key: value})) == (value, value)
    if "." in key:
        assert settings(Profile.model_validate(changed.changed({key: None}))).value(key) is None


def test_every_value_makes_a_profile_that_loads(tmp_path: Path) -> None:
    file = tmp_path / "candidate.yaml"
    for name in ("cpu", "gpu-throughput"):
        start = settings(load_profile(name))
        for dimension in dimensions(start.values["device"], PROCESSORS, 4):
            for value in dimension.values:
                file.write_text(profile_yaml(start.changed({dimension.key: value})))
                assert settings(load_profile(str(file))).value(dimension.key) == value
    assert '"num_speculative_tokens":4' in ngram(4)
