from __future__ import annotations

import pytest

from quantserve.quantize.ladder.decision import (
    MethodCandidate,
    candidates,
    fitting_groups,
    with_overrides,
    worst_layers,
)
from quantserve.quantize.methods.registry import METHODS, make_options

ALL = ("gptq", "awq", "rtn", "int8", "fp8", "bitsandbytes")


def labels(methods: tuple[str, ...], sizes: set[int], target: str, prefer: str | None) -> list[str]:
    return [one.label for one in candidates(methods, sizes, target, prefer)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [({576, 1536}, (64, 32)), ({4096, 14336}, (128, 64, 32)), ({288}, (32,)), ({100}, ())],
)
def test_groups_divide_every_input_size(sizes: set[int], groups: tuple[int, ...]) -> None:
    assert fitting_groups(sizes) == groups


def test_the_cheapest_to_make_comes_first() -> None:
    assert labels(ALL, {576, 1536}, "cpu", None) == [
        "rtn, group 64",
        "awq, group 64",
        "gptq, group 64",
        "rtn, group 32",
        "awq, group 32",
        "gptq, group 32",
        "gptq, group 32, worst 10% in 8 bits",
        "gptq, group 32, worst 25% in 8 bits",
        "int8, rounded",
        "int8, smoothed",
        "int8, smoothed, with feedback",
    ]


def test_speed_begins_with_8_bits() -> None:
    assert labels(ALL, {576}, "cpu", "speed")[:4] == [
        "int8, rounded",
        "int8, smoothed",
        "int8, smoothed, with feedback",
        "rtn, group 64",
    ]
    assert labels(ALL, {4096}, "cuda", "speed")[0] == "fp8"


def test_fp8_is_for_cuda() -> None:
    assert "fp8" not in labels(ALL, {576}, "cpu", None)
    assert "fp8" in labels(ALL, {576}, "cuda", None)


def test_a_method_that_is_not_registered_is_left_out() -> None:
    assert labels(("awq", "int8"), {64}, "cpu", None)[:3] == [
        "awq, group 64",
        "awq, group 32",
        "int8, rounded",
    ]


def test_a_model_no_group_fits_has_8_bits_left() -> None:
    assert {one.method for one in candidates(ALL, {100}, "cpu", None)} == {"int8"}


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_every_candidate_is_one_the_engine_loads(target: str) -> None:
    for one in candidates(METHODS, {576, 1536}, target, None):
        options = with_overrides(one, [0.1] * 30) if one.override_share else one.options
        make_options(METHODS[one.method], options, target)


@pytest.mark.parametrize(
    ("losses", "share", "worst"),
    [
        ([0.1, 0.5, 0.2, 0.4], 0.25, (1,)),
        ([0.1, 0.5, 0.2, 0.4], 0.5, (1, 3)),
        ([0.1, 0.5, 0.2, 0.4], 0.3, (1, 3)),  # rounded up
        ([0.3, 0.3, 0.3], 0.01, (0,)),  # at least one
    ],
)
def test_the_worst_layers(losses: list[float], share: float, worst: tuple[int, ...]) -> None:
    assert worst_layers(losses, share) == worst


def test_the_worst_layers_are_kept_in_8_bits() -> None:
    step = MethodCandidate("gptq", {"group_size": 32}, 0.5)

    assert with_overrides(step, [0.1, 0.5]) == {"group_size": 32, "precision_override": ("layers.1=8",)}
