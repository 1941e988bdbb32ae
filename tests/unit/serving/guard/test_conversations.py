"""What the three APIs of a conversation may ask for beyond its text."""

from __future__ import annotations

from typing import Any

import pytest

from quantserve.core.http.refusal import Refusal
from quantserve.serving.guard.admission import rules_of
from quantserve.serving.guard.paths import ALLOWED
from quantserve.serving.guard.request.rules import RequestSummary
from quantserve.serving.guard.settings import GuardSettings

PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}
TURNS = [{"role": "user", "content": "hi"}]
LIMITS = {"max_messages": 3, "max_prompt_chars": 50, "max_n": 8, "max_values": 100}
FUNCTION = {"type": "function", "function": {"name": "f"}}


def ask(name: str, *, auto: bool = True, **fields: Any) -> RequestSummary:
    rules = rules_of(GuardSettings.model_validate({"limits": LIMITS, "auto_tools": auto}))
    turns = {"input": TURNS} if name == "responses" else {"messages": TURNS}
    return rules.check(ALLOWED[PATHS[name]]["POST"].name, {"model": "m", **turns, **fields})


def refused(name: str, *, auto: bool = True, **fields: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        ask(name, auto=auto, **fields)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"store": True}, "nothing_stored"),
        ({"background": True}, "nothing_stored"),
        ({"previous_response_id": "resp_1"}, "nothing_stored"),
        ({"conversation": "conv_1"}, "nothing_stored"),
        ({"prompt": {"id": "pmpt_1"}}, "nothing_stored"),
        ({"store": "yes"}, "invalid_value"),
        ({"input": ""}, "invalid_value"),
        ({"input": None}, "invalid_value"),
        ({"input": [1, 2]}, "invalid_value"),
        ({"input": TURNS * 4}, "limit_exceeded"),
        ({"input": "x" * 51}, "limit_exceeded"),
        ({"instructions": "x" * 51}, "limit_exceeded"),
        ({"input": [{"type": "input_file", "file_url": "http://x/y"}]}, "refused_address"),
        ({"tools": [{"type": "mcp", "server_url": "http://x"}]}, "invalid_value"),
        ({"tools": [{"type": "web_search"}]}, "invalid_value"),
        ({"max_output_tokens": -1}, "limit_exceeded"),
    ],
)
def test_responses_keep_nothing_and_run_nothing_here(fields: dict[str, Any], reason: str) -> None:
    refusal = refused("responses", **fields)
    assert refusal.code == reason
    assert refusal.param in {*fields, "file_url", "input"}


def test_plain_responses_pass_as_one_sequence() -> None:
    body: dict[str, Any] = {"input": "hi", "store": False, "background": False, "previous_response_id": None}
    assert ask("responses").sequences == 1
    assert ask("responses", **body).sequences == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"system": "x" * 51}, "limit_exceeded"),
        ({"system": [{"type": "text", "text": "x" * 51}]}, "limit_exceeded"),
        ({"stop_sequences": ["x"] * 17}, "limit_exceeded"),
        ({"stop_sequences": [5]}, "invalid_value"),
        ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, "invalid_value"),
        (
            {"messages": [{"role": "user", "content": [{"source": {"type": "url", "url": "http://x"}}]}]},
            "refused_address",
        ),
    ],
)
def test_messages_are_bounded_like_a_chat(fields: dict[str, Any], reason: str) -> None:
    assert refused("messages", **fields).code == reason


AUTO: dict[str, list[Any]] = {
    "chat": [None, "auto"],
    "responses": [None, "auto"],
    "messages": [None, {"type": "auto"}],
}
DEMANDED: dict[str, list[Any]] = {
    "chat": ["required", "none", {"type": "function", "function": {"name": "f"}}],
    "responses": ["required", "none", {"type": "function", "name": "f"}],
    "messages": [{"type": "any"}, {"type": "none"}, {"type": "tool", "name": "f"}],
}
TOOLS: dict[str, Any] = {
    "chat": FUNCTION,
    "responses": {"type": "function", "name": "f", "parameters": {}},
    "messages": {"name": "f", "input_schema": {}},
}


@pytest.mark.parametrize("name", PATHS)
def test_a_model_without_a_form_for_calls_answers_those_that_are_demanded(name: str) -> None:
    tools = {"tools": [TOOLS[name]]}
    for choice in AUTO[name]:
        chosen = {} if choice is None else {"tool_choice": choice}
        refusal = refused(name, auto=False, **tools, **chosen)
        assert (refusal.code, refusal.param) == ("no_auto_tools", "tool_choice")
        assert "tool_parser in the server's profile" in str(refusal)
        assert "--" not in str(refusal)
        assert ask(name, auto=True, **tools, **chosen).sequences == 1
    for choice in DEMANDED[name]:
        assert ask(name, auto=False, **tools, tool_choice=choice).sequences == 1
    assert ask(name, auto=False).sequences == 1


def test_best_of_takes_its_places_in_the_queue() -> None:
    completion = ALLOWED["/v1/completions"]["POST"].name
    asked = rules_of(GuardSettings.model_validate({})).check(
        completion, {"prompt": ["a", "b"], "n": 2, "best_of": 5}
    )
    assert (asked.sequences, asked.answers) == (10, 5)


def test_text_that_is_to_be_cut_may_be_longer_than_the_window() -> None:
    rules = rules_of(GuardSettings.model_validate({"limits": LIMITS}))
    embedding = ALLOWED["/v1/embeddings"]["POST"].name
    long = {"input": ["x" * 5000, "y" * 60]}
    with pytest.raises(Refusal):
        rules.check(embedding, long)
    assert rules.check(embedding, {**long, "truncate_prompt_tokens": 32}).sequences == 2


def test_values_of_a_body_are_bounded_but_not_its_token_ids() -> None:
    assert refused("chat", logit_bias={str(k): 1 for k in range(101)}).code == "limit_exceeded"
    completion = ALLOWED["/v1/completions"]["POST"].name
    rules = rules_of(GuardSettings.model_validate({"limits": LIMITS}))
    assert rules.check(completion, {"prompt": list(range(5000))}).sequences == 1


@pytest.mark.parametrize("function", [{}, {"name": ""}, {"name": 5}, {"name": None}, "f", []])
def test_every_tool_has_a_name(function: Any) -> None:
    tool = {"type": "function", "function": function}
    assert "every tool needs a name" in str(refused("chat", tools=[tool], tool_choice="required"))
