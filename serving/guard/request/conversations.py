"""What is asked of a conversation beyond its text: tools, and what /v1/responses would keep. Pure.

The engine puts the parameters of all tools into one schema and moves their `$defs` to its root. What points
to anything else (`#`, `#/definitions/…`, `#/properties/…`), or to another tool's definition of the same name,
would miss. Such parameters are wrapped: they become a definition of their own name, and point into that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from quantserve.core.http.refusal import Refusal, bad_value

ENDPOINTS = frozenset({"chat", "responses", "messages"})
_KINDS = {
    "chat": frozenset({None, "function"}),
    "responses": frozenset({"function"}),
    "messages": frozenset({None, "custom"}),
}
"""Types of tools that only describe a function of the client's; every other runs something here."""
_STORED = {
    "previous_response_id": "send the conversation so far as input",
    "conversation": "send the conversation so far as input",
    "prompt": "send the text as instructions and input",
}
_FREE_OF_ROOT = re.compile(r"#/\$defs/[^/]+")
"""What still finds its target when `$defs` has moved to the root."""
_DATA = frozenset({"const", "default", "enum", "examples"})
"""Keywords that hold values rather than schemas."""
_PARAMETERS = ("parameters", "input_schema")


def check_responses(body: dict[str, Any]) -> None:
    """Refuse what needs answers or prompts that are kept: nothing is.

    Raises:
        Refusal: 400, naming the field.
    """
    for name in ("store", "background"):
        value = body.get(name)
        if type(value) not in (bool, type(None)):
            raise bad_value(f"{name} must be true or false", name)
        if value:
            raise Refusal(
                400, "nothing_stored", f"nothing is stored on this server; leave {name} out", param=name
            )
    for name, advice in _STORED.items():
        if body.get(name) is not None:
            raise Refusal(
                400, "nothing_stored", f"nothing is stored on this server, so no {name}; {advice}", param=name
            )


def check_tools(endpoint: str, body: dict[str, Any], *, auto: bool) -> None:
    """Check the kinds of tools, and that the model can decide on a call where it shall.

    Raises:
        Refusal: 400, naming the field.
    """
    tools = body.get("tools")
    if endpoint not in ENDPOINTS or not tools:
        return
    for tool in tools:
        if type(tool) is not dict:
            raise bad_value("every tool must be an object", "tools")
        if tool.get("type") not in _KINDS[endpoint]:
            known = " or ".join(sorted(str(kind) for kind in _KINDS[endpoint] if kind))
            raise bad_value(f"tools must be of type {known}; nothing is run on this server", "tools")
        named = function_of(tool)
        if named is None or type(named.get("name")) is not str or not named["name"]:
            raise bad_value("every tool needs a name", "tools")
    choice = body.get("tool_choice")
    decides = choice is None or choice == "auto" or (type(choice) is dict and choice.get("type") == "auto")
    if decides and not auto:
        raise Refusal(
            400,
            "no_auto_tools",
            "this model decides on no tool calls itself: its chat template has no form for them that this "
            "server can read. Set tool_choice to required, a function or none, or have the operator set "
            "tool_parser in the server's profile",
            param="tool_choice",
        )


def function_of(tool: Any) -> dict[str, Any] | None:
    """Return what holds a tool's name and parameters: in a chat what is below `function`."""
    found = tool.get("function", tool) if isinstance(tool, dict) else None
    return found if isinstance(found, dict) else None


def parameters_of(tool: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a described tool's arguments, as the engine completes it."""
    found = next((tool[name] for name in _PARAMETERS if name in tool), None)
    return found if isinstance(found, dict) and found else {"type": "object", "properties": {}}


def references(schema: Any) -> Iterator[str]:
    """Yield the references to parts of the schema itself."""
    stack = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, dict):
            found = node.get("$ref")
            if isinstance(found, str) and found.startswith("#"):
                yield found
            stack.extend(value for name, value in node.items() if name not in _DATA)


def self_contained(tools: list[Any]) -> list[Any]:
    """Return the tools with references that hold in the joined schema; the same list where all do."""
    schemas = [parameters_of(found) if (found := function_of(tool)) else {} for tool in tools]
    if not any("$ref" in str(schema) for schema in schemas):
        return tools
    if not _collide(schemas) and all(
        _FREE_OF_ROOT.fullmatch(found) for schema in schemas for found in references(schema)
    ):
        return tools
    return [
        _wrapped(tool, schema, f"tool{number}") if any(references(schema)) else tool
        for number, (tool, schema) in enumerate(zip(tools, schemas, strict=True))
    ]


def _collide(schemas: list[dict[str, Any]]) -> bool:
    known: dict[str, Any] = {}
    for schema in schemas:
        definitions = schema.get("$defs")
        for name, found in definitions.items() if isinstance(definitions, dict) else ():
            if known.setdefault(name, found) != found:
                return True
    return False


def _wrapped(tool: dict[str, Any], schema: dict[str, Any], name: str) -> dict[str, Any]:
    root = f"#/$defs/{name}"
    wrapped = {"$ref": root, "$defs": {name: _below(schema, root)}}
    holder = function_of(tool) or {}
    holder = {**holder, next(key for key in _PARAMETERS if key in holder): wrapped}
    return {**tool, "function": holder} if "function" in tool else holder


def _below(node: Any, root: str) -> Any:
    """Return a schema whose references start at `root`."""
    if isinstance(node, list):
        return [_below(part, root) for part in node]
    if not isinstance(node, dict):
        return node
    found = {name: value if name in _DATA else _below(value, root) for name, value in node.items()}
    if isinstance(target := found.get("$ref"), str) and target.startswith("#"):
        found["$ref"] = root + target[1:]
    return found
