"""Three requests that call for a tool: is the answer a call that a program can read?

The tools stand in the message itself, so the same is asked of models whose chat template has no place
for them. A request that the base answers with no readable call says nothing about the candidate.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quantserve.quantize.gate.answers import Answer

_TOOLS = {
    "get_weather": {"city": "string"},
    "add_event": {"title": "string", "day": "string"},
    "convert": {"amount": "number", "to": "string"},
}
_ASKED = (
    "What is the weather in Busan?",
    "Put a dentist appointment into my calendar for Monday.",
    "How much are 20 dollars in euros?",
)
_HOW = (
    "You can call these functions, given with their arguments:\n"
    + "\n".join(f"{name}{json.dumps(arguments)}" for name, arguments in _TOOLS.items())
    + '\nAnswer with one JSON object only, of the form {"name": FUNCTION, "arguments": {…}}.\n'
)
QUESTIONS = tuple(f"{_HOW}Request: {asked}" for asked in _ASKED)


@dataclass(frozen=True)
class CallPair:
    """Both models' answers to one request, and whether each holds a call."""

    question: str
    base: Answer
    candidate: Answer
    base_parses: bool
    candidate_parses: bool

    @property
    def newly_broken(self) -> bool:
        """Whether the candidate's call cannot be read where the base's can."""
        return self.base_parses and not self.candidate_parses


def parse_call(text: str) -> dict[str, Any] | None:
    """Return the first call in an answer: a JSON object with a known name and an object of arguments.

    What stands around it, such as a code fence or <tool_call> tags, is skipped, as the engine's own
    parsers do.
    """
    decoder = json.JSONDecoder()
    start = text.find("{")
    while start != -1:
        try:
            value, _ = decoder.raw_decode(text, start)
        except json.JSONDecodeError:
            value = None
        if (
            isinstance(value, dict)
            and value.get("name") in _TOOLS
            and isinstance(value.get("arguments"), dict)
        ):
            return value
        start = text.find("{", start + 1)
    return None


def compare_calls(base: Sequence[Answer], candidate: Sequence[Answer]) -> tuple[CallPair, ...]:
    """Pair the answers to the same requests, in order."""
    return tuple(
        CallPair(
            one.question, one, other, parse_call(one.text) is not None, parse_call(other.text) is not None
        )
        for one, other in zip(base, candidate, strict=True)
    )
