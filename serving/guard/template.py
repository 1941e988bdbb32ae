"""What a model's chat template puts round a conversation, measured by rendering it. Pure.

No tokenizer makes more tokens of a text than it has bytes, so the bytes a template adds bound its tokens.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Never

_TEXT = "x"
_FAILURES = (
    *(TypeError, ValueError, LookupError, AttributeError, ArithmeticError),
    *(RecursionError, MemoryError),
)
"""What a template may raise that was written for other messages, or for harm."""
_TOOL = {
    "type": "function",
    "function": {
        "name": _TEXT,
        "description": _TEXT,
        "parameters": {"type": "object", "properties": {_TEXT: {"type": "string", "description": _TEXT}}},
    },
}


@dataclass(frozen=True)
class TemplateCost:
    """Bytes a template adds: once, for each message, and for tools beside their JSON."""

    once: int = 512
    turn: int = 64
    tools: int = 1024


def _refuse(message: str) -> Never:
    raise ValueError(message)


def measure(template: str) -> TemplateCost:
    """Render a template with one message and with three; a guess for one that is missing or will not."""
    if not template:
        return TemplateCost()
    from jinja2 import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)

    def length(roles: Sequence[str], tools: Any = None) -> int:
        messages = [{"role": role, "content": _TEXT} for role in roles]
        text = environment.from_string(template).render(
            messages=messages, tools=tools, add_generation_prompt=True, bos_token="<s>", eos_token="</s>"
        )
        return len(text.encode("utf-8"))

    try:
        one, three = length(["user"]), length(["user", "assistant", "user"])
        with_tools = length(["user"], [_TOOL])
    except (TemplateError, *_FAILURES):
        return TemplateCost()  # it asks for something of its own; the guess is generous
    turn = -(-(three - one) // 2)
    return TemplateCost(once=one, turn=max(0, turn), tools=max(0, with_tools - one))
