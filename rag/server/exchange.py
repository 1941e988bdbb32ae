"""One request while it passes: its id, its key, and what log, metrics and spans will say of it."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.requests import Request

from quantserve.rag.server.live import Times

REQUEST_ID = b"x-request-id"
_PLAIN = re.compile(r"[A-Za-z0-9._:\-]{1,128}")


@dataclass
class AnswerRecord:
    """What is written down of one answer or search; what is not known is None."""

    question_sha256: str
    passages: tuple[tuple[str, float], ...] = ()
    """Passage ids and scores, in order."""
    seconds: dict[str, float] = field(default_factory=dict)
    mode: str = ""
    language: str = ""
    model: str = ""
    generation: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached: str = ""
    judged: tuple[str, ...] = ()
    guard: str = ""
    invented_citations: int = 0
    notes: tuple[str, ...] = ()
    client_left: bool = False
    times: Times | None = None


@dataclass
class Exchange:
    """A request and what became of it."""

    method: str
    path: str
    request_id: str
    headers: Mapping[str, str]
    route: str = ""
    """The route's pattern, so that a metric's label has few values."""
    key: str = ""
    """Id of the key."""
    status: int = 0
    reason: str = ""
    """Code of the refusal or error."""
    answer: AnswerRecord | None = None
    began_ns: int = field(default_factory=time.time_ns)
    started: float = field(default_factory=time.perf_counter)
    seconds: float = 0.0


def request_id_of(given: str | None) -> str:
    """Return the client's id when it is a plain one, else a new one."""
    return given if given is not None and _PLAIN.fullmatch(given) else uuid.uuid4().hex


def exchange_of(request: Request) -> Exchange:
    """Return the exchange that the gate made of a request."""
    found: Exchange = request.scope["quantserve"]
    return found
