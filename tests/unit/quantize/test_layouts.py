from __future__ import annotations

import re

import pytest

from quantserve.quantize.config import RtnOptions
from quantserve.quantize.methods.formats.layouts import (
    LAYOUTS,
    Format,
    Layout,
    layout_of,
    settings,
    settle_layout,
)
from quantserve.quantize.methods.registry import METHODS

DOWN = "model.layers.0.mlp.down_proj"
UP = "model.layers.0.mlp.up_proj"


@pytest.mark.parametrize(
    ("method", "bits", "symmetric", "widths", "expected"),
    [
        ("gptq", 4, True, {}, "gptq"),
        ("gptq", 4, False, {}, "awq"),
        ("awq", 4, False, {DOWN: 16}, "awq"),
        ("gptq", 8, True, {}, "gptq"),
        ("gptq", 3, True, {}, "packed"),
        ("gptq", 8, False, {}, "packed"),
        ("rtn", 4, True, {DOWN: 8}, "packed"),
        ("int8", 8, True, {DOWN: 16}, "int8"),
        ("fp8", 8, True, {}, "fp8"),
    ],
)
def test_each_result_gets_a_layout_the_engine_reads(
    method: str, bits: int, symmetric: bool, widths: dict[str, int], expected: Format
) -> None:
    given = {"bits": bits, "symmetric": symmetric} if method not in ("int8", "fp8") else {}
    assert layout_of(method, METHODS[method].options(**given), widths).format == expected


@pytest.mark.parametrize(
    ("layout", "symmetric", "bits", "target", "settled"),
    [
        ("auto", True, 4, "cpu", "packed"),
        ("auto", False, 4, "cpu", "auto"),
        ("auto", True, 8, "cpu", "auto"),
        ("auto", True, 4, "cuda", "auto"),
        ("gptq", True, 4, "cpu", "gptq"),
    ],
)
def test_symmetric_weights_are_packed_for_a_processor(
    layout: str, symmetric: bool, bits: int, target: str, settled: str
) -> None:
    assert settle_layout(layout, bits, symmetric=symmetric, target=target) == settled


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_asked_for_is_the_one_written(layout: Format) -> None:
    assert layout_of("rtn", RtnOptions(layout=layout), {}).format == layout


def test_gptq_leaves_kept_modules_out_wherever_the_engine_puts_them() -> None:
    assert settings(Layout("gptq", 4, 32, True, {DOWN: 16})) == {
        "quant_method": "gptq",
        "bits": 4,
        "group_size": 32,
        "sym": True,
        "desc_act": False,
        "lm_head": False,
        "checkpoint_format": "gptq",
        "dynamic": {r"-:(?:.*\.)?layers\.0\.mlp\.down_proj(?:\..*)?$": {}},
    }


def test_awq_lists_kept_modules() -> None:
    found = settings(Layout("awq", 4, 32, False, {DOWN: 16}))
    assert found["modules_to_not_convert"] == ["layers.0.mlp.down_proj", "lm_head"]
    assert found["zero_point"] is True


def test_a_mixture_names_each_group_s_own_format() -> None:
    found = settings(Layout("packed", 4, 32, False, {DOWN: 8, UP: 16}))
    assert found["format"] == "mixed-precision"
    assert found["ignore"] == ["lm_head", r"re:(?:.*\.)?layers\.0\.mlp\.up_proj(?:\..*)?$"]
    first, second = found["config_groups"]["group_0"], found["config_groups"]["group_1"]
    assert (first["targets"], first["format"]) == ([DOWN], "int-quantized")
    assert first["input_activations"]["strategy"] == "token"
    assert (second["targets"], second["format"]) == (["Linear"], "pack-quantized")
    assert second["weights"]["group_size"] == 32


def test_int8_is_by_row_and_by_token() -> None:
    group = settings(Layout("int8", 8, -1, True, {}))["config_groups"]["group_0"]
    assert (group["weights"]["strategy"], group["input_activations"]["strategy"]) == ("channel", "token")
    assert group["input_activations"]["dynamic"] is True


@pytest.mark.parametrize(
    ("kept", "asked", "left"),
    [
        # the engine has another parent than transformers
        ("model.altup_projections.0", "model.self_decoder.altup_projections.0", True),
        ("model.altup_projections.1", "model.self_decoder.altup_projections.11", False),
        ("model.layers.0.mlp.down_proj", "language_model.model.layers.0.mlp.down_proj", True),
        ("model.layers.0.mlp.down_proj", "model.layers.10.mlp.down_proj", False),
        ("model.layers.0.mlp.gate", "model.layers.0.mlp.gate_proj", False),
        # it asks about experts in a block by names that no checkpoint of them has
        ("model.layers.0.mlp.experts", "model.layers.0.mlp.experts", True),
        ("model.layers.0.mlp.experts", "model.layers.0.mlp.experts.0.gate_proj", True),
        ("model.layers.0.mlp.experts", "model.layers.0.mlp.shared_expert.gate_proj", False),
    ],
)
def test_what_stays_is_known_by_the_name_that_the_engine_asks_for(kept: str, asked: str, left: bool) -> None:
    (_, word) = settings(Layout("int8", 8, -1, True, {kept: 16}))["ignore"]
    assert bool(re.match(word.removeprefix("re:"), asked)) == left
    (rule,) = settings(Layout("gptq", 4, 32, True, {kept: 16}))["dynamic"]
    assert bool(re.match(rule.removeprefix("-:"), asked)) == left
