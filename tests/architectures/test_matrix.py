"""Every shape by every method: an artifact whose logits are right, or a clean refusal before the work."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.architectures.outcomes import METHODS, OK, outcomes
from tests.architectures.program import Program
from tests.architectures.shapes import NOT_MADE, all_shapes, registry

SHAPES = all_shapes()
EXPECTED = outcomes()


def test_every_type_that_both_know_has_a_shape_or_a_reason() -> None:
    assert {shape.model_type for shape in SHAPES.values()} | set(NOT_MADE) >= set(registry())


def test_every_shape_has_its_outcome() -> None:
    assert sorted(EXPECTED) == sorted(SHAPES)


def cases() -> list[Any]:
    """Return every shape by every method; `make test` takes those that show nearly all that can go wrong.

    A variant differs in what a scale may do, which int8's smoothing shows; awq's scales are searched as
    gptq's are, and rtn's layout is theirs.
    """
    found = []
    for (name, shape), method in itertools.product(SHAPES.items(), METHODS):
        now = method == "int8" or (method == "gptq" and name == shape.model_type)
        found.append(pytest.param(name, method, marks=() if now else pytest.mark.architectures))
    return found


@pytest.mark.parametrize(("name", "method"), cases())
def test_it_is_right_or_refused(quantizer: Program, name: str, method: str) -> None:
    found = quantizer.ask({"shape": name, "method": method})
    expected = EXPECTED[name][method]
    if expected == OK:
        assert summary(found) == {"outcome": "ok"}
        assert found["error"] <= found["bound"]
    else:
        assert found["outcome"] == "refused", found
        assert expected in found["message"]
        assert found["mend"], "it does not say the way out"
        assert "\n" not in found["message"]


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "gemma2", "phi3", "granite", "gpt_neox"])
def test_int8s_search_loses_less_than_one_strength_for_all(quantizer: Program, name: str) -> None:
    searched = quantizer.ask({"shape": name, "method": "int8"})
    fixed = {"smoothing": 0.5, "feedback": False}
    one_for_all = quantizer.ask({"shape": name, "method": "int8", "options": fixed})
    assert searched["error"] < one_for_all["error"]


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """Return what is worth reading of an answer: how it ended, and what is wrong with it."""
    if found.get("outcome") == "ok":
        return {"outcome": "ok"}
    return {key: value for key, value in found.items() if key not in ("seconds", "right")}
