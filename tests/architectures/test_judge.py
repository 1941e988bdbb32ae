"""The judge finds each kind of wrong, and its plain rounding is that of the layouts' own definition."""

from __future__ import annotations

import pytest

from tests.architectures.program import Program


def test_rounding_without_any_search_loses_what_the_judge_s_own_rounding_loses(quantizer: Program) -> None:
    found = quantizer.ask({"shape": "llama", "method": "rtn"})
    assert found["right"]
    assert found["error"] == pytest.approx(found["plain"], rel=0.01)


@pytest.mark.parametrize("way", ["norm", "scales", "order", "infinite"])
def test_a_wrong_weight_is_beyond_the_bound(quantizer: Program, way: str) -> None:
    found = quantizer.ask({"shape": "llama", "method": "rtn", "spoil": way})
    assert found["outcome"] == "wrong"
    assert not found["error"] <= found["bound"]


@pytest.mark.parametrize(
    ("way", "where", "name"),
    [
        ("missing", "missing", "model.norm.weight"),
        ("extra", "extra", "model.layers.2.input_layernorm.weight"),
        ("foreign", "foreign", "consolidated.safetensors"),
    ],
)
def test_tensors_and_files_that_differ_are_named(quantizer: Program, way: str, where: str, name: str) -> None:
    found = quantizer.ask({"shape": "llama", "method": "rtn", "spoil": way})
    assert (found["outcome"], found[where]) == ("wrong", [name])
