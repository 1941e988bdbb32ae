"""What a request took of the engine, by the engine's own books: also when its client left before the end.

    meter = Meter(salt);  CURRENT.set(meter)     before the request is handed on
    meter.prompt, meter.completion               whenever it has ended

vLLM's API process keeps a state for each sequence: the tokens of its prompt, and those that have come from
the engine so far, whether or not they were streamed. The guard runs in that process, and a context variable
tells which sequences a request has begun, so that every route counts alike: prompts in a list, several
answers, token ids, images, sound, embeddings. On the same way each key's prompts get a salt of their own in
the prefix cache, so that nobody can tell from the time of an answer what another key has asked.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from contextvars import ContextVar
from typing import Any

from quantserve.core.errors import QuantserveError

CURRENT: ContextVar[Meter | None] = ContextVar("meter", default=None)
_ATTACHED = "quantserve_metered"
_SECRET = secrets.token_bytes(32)
_DIGITS = 32


class Meter:
    """The sequences one request has begun."""

    __slots__ = ("_salt", "_states")

    def __init__(self, salt: str | None = None) -> None:
        """`salt` parts its prompts from those of others in the prefix cache."""
        self._salt = salt
        self._states: list[tuple[Any, bool]] = []

    @property
    def began(self) -> bool:
        """Whether anything has reached the engine."""
        return bool(self._states)

    @property
    def prompt(self) -> int:
        """Tokens of its prompts; one that is answered several times is read once."""
        return sum(state.prompt_len for state, counts in self._states if counts)

    @property
    def completion(self) -> int:
        """Tokens that came from the engine, streamed or not."""
        return sum(
            state.detokenizer.num_output_tokens()
            for state, _ in self._states
            if state.detokenizer is not None  # embeddings have none
        )

    def begin(self, request: Any) -> None:
        """See a sequence before the engine gets it."""
        if self._salt is not None:
            request.cache_salt = salted(self._salt, request.cache_salt)

    def note(self, state: Any, *, first: bool) -> None:
        """Count a sequence; `first` is the first of those that answer the same prompt."""
        self._states.append((state, first))


def salt_of(key_id: str) -> str:
    """Return a key's salt, which nobody can guess and no two processes share."""
    return hmac.new(_SECRET, key_id.encode(), hashlib.sha256).hexdigest()[:_DIGITS]


def salted(salt: str, given: str | None) -> str:
    """Return the salt of a prompt whose sender asks for one of his own, too."""
    if not given:
        return salt
    return hmac.new(salt.encode(), given.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[
        :_DIGITS
    ]


def attach(engine: Any) -> None:
    """Have an engine's sequences counted for the request that begins them.

    Raises:
        QuantserveError: the engine keeps no such books; limits on tokens would mean nothing.
    """
    processor = getattr(engine, "output_processor", None)
    if processor is None or not hasattr(processor, "request_states"):
        raise QuantserveError(
            f"the guard cannot count the tokens of {type(engine).__name__}",
            mend="Use the vLLM release that requirements/serving.txt names",
        )
    if getattr(processor, _ATTACHED, False):
        return
    add = processor.add_request

    def add_request(
        request: Any, prompt: Any, parent_req: Any = None, request_index: int = 0, queue: Any = None
    ) -> None:
        meter = CURRENT.get()
        if meter is not None:
            meter.begin(request)
        add(request, prompt, parent_req, request_index, queue)
        if meter is not None:
            state = processor.request_states.get(request.request_id)
            if state is not None:
                meter.note(state, first=parent_req is None or request_index == 0)

    processor.add_request = add_request
    setattr(processor, _ATTACHED, True)
