"""The part of vLLM's engine client by which the guard counts tokens: a state for each sequence."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class Books:
    """An output processor that keeps states and does nothing with them."""

    def __init__(self) -> None:
        self.request_states: dict[str, Any] = {}
        self.salts: list[str | None] = []

    def add_request(
        self, request: Any, prompt: Any, parent_req: Any = None, request_index: int = 0, queue: Any = None
    ) -> None:
        tokens: list[int] = []
        detokenizer = SimpleNamespace(num_output_tokens=lambda: len(tokens), tokens=tokens)
        state = SimpleNamespace(prompt_len=request.prompt_len, detokenizer=detokenizer)
        self.request_states[request.request_id] = state
        self.salts.append(request.cache_salt)

    def begin(self, prompt_len: int, answers: int = 1, cache_salt: str | None = None) -> list[list[int]]:
        """Begin the sequences of one prompt; return the lists their tokens are added to."""
        parent = object() if answers > 1 else None
        found = []
        for index in range(answers):
            name = f"r{len(self.request_states)}"
            request = SimpleNamespace(request_id=name, prompt_len=prompt_len, cache_salt=cache_salt)
            self.add_request(request, None, parent, index)  # by the instance, as vLLM does
            found.append(self.request_states[name].detokenizer.tokens)
        return found


class EngineClient:
    """What `app.state.engine_client` is to the guard."""

    def __init__(self) -> None:
        self.output_processor = Books()
        self.errored = False
