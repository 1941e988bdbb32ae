"""Schemas compiled aside by the engine's own library, in the serving environment's Python."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from quantserve.core.http.refusal import Refusal
from quantserve.serving.guard.request.conversations import self_contained
from quantserve.serving.guard.request.grammar_worker import closed
from quantserve.serving.guard.request.grammars import Compiler, Constraint, constraints
from tests.programs import PYTHON

SLOW = [{"type": "string", "pattern": f".*w{k}.*"} for k in range(16)]


def checked(folder: Path, *asked: Constraint) -> list[Refusal | None]:
    """Check several at once with one compiler."""

    async def check() -> list[Any]:
        compiler = Compiler(folder, 1.0, PYTHON)
        try:
            return await asyncio.gather(*(compiler.check(one) for one in asked), return_exceptions=True)
        finally:
            await compiler.close()

    return asyncio.run(check())


def one(kind: str, value: Any) -> Constraint:
    return Constraint(kind, value if isinstance(value, str) else json.dumps(value), "response_format")


GOOD = [
    one("json", {"type": "array", "minItems": 1}),
    one("json", {"type": "object", "properties": {"a": {"$ref": "#"}}}),
    one("regex", "(a|b){3}"),
    one("choice", ["yes", "no"]),
    one("grammar", 'start: "a" | "b"'),
]
BAD = [
    one("json", {"$ref": "#"}),
    one("json", {"$ref": "https://example.org/schema"}),
    one("json", {"type": 5}),
    one("json", "[" * 100_000),
    one("json", "true"),
    one("json", {"type": "array", "minItems": 10**30}),
    one("regex", "(("),
    one("regex", r"(a)\1"),
    one("choice", "["),
    one("grammar", "start: %%"),
    one("structural_tag", {}),
    one("structural_tag", {"triggers": [], "structures": [{"begin": "x"}]}),
    one("nothing", "x"),
    one("structural_tag", {"triggers": [], "structures": []}),
]


def test_good_ones_pass_and_every_mistake_is_a_400(tmp_path: Path) -> None:
    found = checked(tmp_path, *GOOD, *BAD)
    assert found[: len(GOOD)] == [None] * len(GOOD)
    for refusal in found[len(GOOD) :]:
        assert isinstance(refusal, Refusal)
        assert (refusal.status, refusal.param) == (400, "response_format")


def test_what_takes_too_long_is_ended_and_the_others_still_get_their_answer(tmp_path: Path) -> None:
    slow = [one("json", {"allOf": SLOW, "title": str(k)}) for k in range(2)]
    *ended, fine = checked(tmp_path, *slow, one("json", {"type": "object"}))
    assert fine is None
    for refusal in ended:
        assert isinstance(refusal, Refusal)
        assert (refusal.status, refusal.code) == (400, "limit_exceeded")


def test_constraints_are_found_in_every_api() -> None:
    schema = {"type": "object"}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    bodies: list[tuple[dict[str, Any], list[str]]] = [
        ({}, []),
        ({"response_format": {"type": "text"}}, []),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}, ["json"]),
        ({"text": {"format": {"type": "json_schema", "schema": schema}}}, ["json"]),
        ({"output_config": {"format": {"type": "json_schema", "schema": schema}}}, ["json"]),
        ({"structured_outputs": {"regex": "a", "json": None}}, ["regex"]),
        ({"response_format": {"type": "structural_tag", "triggers": []}}, ["structural_tag"]),
        ({"tools": [tool]}, []),
        ({"tools": [tool], "tool_choice": "auto"}, []),
        ({"tools": [tool], "tool_choice": "required"}, ["json"]),
        ({"tools": [tool], "tool_choice": {"type": "function", "function": {"name": "f"}}}, ["json"]),
        ({"tools": [{"name": "f", "input_schema": schema}], "tool_choice": {"type": "any"}}, ["json"]),
        ({"tools": [5, {"function": 5}], "tool_choice": "required"}, []),
        ({"tools": [tool], "tool_choice": {"type": "function", "function": {"name": "g"}}}, []),
        ({"tools": [tool], "tool_choice": {"type": "none"}}, []),
    ]
    for body, kinds in bodies:
        assert [found.kind for found in constraints(body)] == kinds, body


POINTING = {"properties": {"a": {"$ref": "#/definitions/A"}}, "definitions": {"A": {"type": "null"}}}
SIBLING = {"properties": {"a": {"type": "null"}, "b": {"$ref": "#/properties/a"}}}
OWN = {"properties": {"a": {"$ref": "#/$defs/A"}}}
OF_ONE_NAME = [{**OWN, "$defs": {"A": {"type": kind}}} for kind in ("null", "integer")]
ITSELF = {"properties": {"a": {"$ref": "#"}}}


@pytest.mark.parametrize("schemas", [[POINTING], [ITSELF], [SIBLING], OF_ONE_NAME])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "f0"}])
def test_demanded_calls_compile_wherever_their_parameters_point(
    tmp_path: Path, schemas: list[dict[str, Any]], choice: Any
) -> None:
    tools: list[Any] = [{"name": f"f{k}", "parameters": found} for k, found in enumerate(schemas)]
    if choice == "required":
        tools = self_contained(tools)
    assert checked(tmp_path, *constraints({"tools": tools, "tool_choice": choice})) == [None]


def test_named_call_follows_the_parameters_of_its_tool_alone() -> None:
    broken = {"name": "g", "parameters": {"type": "string", "pattern": "("}}
    tools = [{"name": "f", "parameters": {"type": "integer"}}, broken]
    [found] = constraints({"tools": tools, "tool_choice": {"type": "function", "name": "f"}})
    assert json.loads(found.text) == {"type": "integer"}


def test_objects_hold_what_their_schema_names_unless_it_says_otherwise() -> None:
    inner = {"properties": {"a": {"type": "string"}}}
    open_ = {"properties": {"a": True}, "additionalProperties": True}
    schema: dict[str, Any] = {"properties": {"x": inner, "y": open_}, "anyOf": [inner, {"type": "object"}]}
    shut = {**inner, "additionalProperties": False}
    assert closed(schema) == {
        "properties": {"x": shut, "y": open_},
        "anyOf": [shut, {"type": "object"}],
        "additionalProperties": False,
    }
    assert closed(True) is True
    assert schema["properties"]["x"] is inner  # the client's own is left as it was


@pytest.mark.parametrize("kind", ["json", "regex"])
def test_what_was_compiled_once_is_remembered(tmp_path: Path, kind: str) -> None:
    async def check() -> bool:
        compiler = Compiler(tmp_path, 1.0, PYTHON)
        asked = one(kind, {"type": "object"} if kind == "json" else "a")
        await compiler.check(asked)
        await compiler.close()
        before = asyncio.all_tasks()
        await compiler.check(asked)  # no process is left to ask
        return asyncio.all_tasks() == before

    assert asyncio.run(check())
