from __future__ import annotations

import pytest

from quantserve.quantize.gate.facts.answers import parse_call

CALL = '{"name": "convert", "arguments": {"amount": 20, "to": "EUR"}}'


@pytest.mark.parametrize(
    "text",
    [
        CALL,
        f"```json\n{CALL}\n```",
        f"<tool_call>{CALL}</tool_call>",
        f"For {{amount}} I call: {CALL} Done.",
    ],
)
def test_a_call_is_found_in_what_stands_around_it(text: str) -> None:
    call = parse_call(text)

    assert call is not None
    assert call["arguments"] == {"amount": 20, "to": "EUR"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot do that.",
        CALL[:-2],
        '{"name": "rm", "arguments": {}}',
        '{"name": "convert", "arguments": "20"}',
        '{"name": "convert"}',
        '["convert"]',
    ],
)
def test_what_a_program_cannot_call_is_no_call(text: str) -> None:
    assert parse_call(text) is None
