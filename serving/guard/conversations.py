"""What is asked of a conversation beyond its text: tools, and what /v1/responses would keep. Pure."""

from __future__ import annotations

from typing import Any

from quantserve.serving.guard.refusal import Refusal, bad_value
from quantserve.serving.guard.tool_schemas import described

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
        named = described(tool)
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
