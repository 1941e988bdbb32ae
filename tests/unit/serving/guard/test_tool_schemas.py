"""Parameters of tools with references of their own, as a demanded call has to follow them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from quantserve.serving.guard.request.conversations import references, self_contained

A = {"type": "string", "enum": ["x"]}
B = {"type": "integer"}


def tool(parameters: Any, name: str = "f") -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def pointing(target: str, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": {"$ref": target}}, "required": ["a"], **more}


@pytest.mark.parametrize(
    "tools",
    [
        [],
        [tool({"type": "object"}), {"function": 5}, 5],
        [tool(pointing("#/$defs/A", **{"$defs": {"A": A}}))],
        [tool(pointing("#/$defs/A", **{"$defs": {"A": A}})), tool({"$defs": {"A": A}}, "g")],
        [tool({"type": "object", "properties": {"a": {"const": {"$ref": "#/x"}}}})],
    ],
)
def test_tools_whose_references_hold_stay_as_they_are(tools: list[Any]) -> None:
    assert self_contained(tools) is tools


@pytest.mark.parametrize(
    ("parameters", "targets"),
    [
        (pointing("#"), ["#/$defs/tool0"]),
        (pointing("#/definitions/A", definitions={"A": A}), ["#/$defs/tool0/definitions/A"]),
        (
            {"type": "object", "properties": {"a": A, "b": {"$ref": "#/properties/a"}}},
            ["#/$defs/tool0/properties/a"],
        ),
        (
            pointing("#/$defs/A/items", **{"$defs": {"A": {"items": {"$ref": "#/$defs/A"}}}}),
            ["#/$defs/tool0/$defs/A", "#/$defs/tool0/$defs/A/items"],
        ),
    ],
)
def test_parameters_become_a_definition_into_which_they_point(
    parameters: dict[str, Any], targets: list[str]
) -> None:
    before = copy.deepcopy(parameters)
    [found] = self_contained([tool(parameters)])
    wrapped = found["function"]["parameters"]
    assert (wrapped["$ref"], list(wrapped["$defs"])) == ("#/$defs/tool0", ["tool0"])
    assert sorted(references(wrapped["$defs"])) == targets
    assert found["function"]["name"] == "f"
    assert parameters == before


def test_definitions_of_one_name_are_kept_apart() -> None:
    tools = [tool(pointing("#/$defs/A", **{"$defs": {"A": found}})) for found in (A, B)]
    first, second = (found["function"]["parameters"] for found in self_contained(tools))
    assert first["$defs"]["tool0"]["$defs"]["A"] == A
    assert second["$defs"]["tool1"]["$defs"]["A"] == B
    assert list(references(second["$defs"])) == ["#/$defs/tool1/$defs/A"]


def test_tools_of_the_other_apis_are_wrapped_alike() -> None:
    schema = pointing("#/definitions/A", definitions={"A": A})
    own, theirs = self_contained([{"name": "f", "input_schema": schema}, {"name": "g", "parameters": schema}])
    assert own["input_schema"]["$ref"] == "#/$defs/tool0"
    assert theirs["parameters"]["$ref"] == "#/$defs/tool1"
