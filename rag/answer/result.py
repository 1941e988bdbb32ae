"""What an answer is, and how answering fails."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from quantserve.rag.errors import ServerUnavailable
from quantserve.rag.retrieve import Passage
from quantserve.rag.store.chunks import Chunk


@dataclass(frozen=True)
class Answer:
    """An answer.

    `mode` is generate, extract, unknown, chitchat or blocked; `reason` says why it was not generated.
    `cited` are passage numbers from 1. `attributed` is True when a sentence got its citation from us: the
    model cited nothing there, or a passage that does not say it. `withdrawn` is True when text was streamed
    that does not stand: `text` alone counts.
    """

    question: str
    text: str
    mode: str
    language: str
    passages: tuple[Passage, ...]
    cited: tuple[int, ...] = ()
    invented_citations: int = 0
    attributed: bool = False
    reason: str = ""
    model: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    """By stage: guard, chitchat, condense, cache, embed, retrieve (with dense, bm25, fuse, passages, rerank
    and, where nothing before needed it, embed in it), extract, prompt, generate, in which ttft is."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached: str = ""
    """"exact" or "semantic" where it is a cached answer."""
    judged: tuple[str, ...] = ()
    """What became of each cached question that was close (rag.cache.answers.Outcome)."""
    guard: str = ""
    """The guard steps that blocked or masked something, like "input:topics"."""
    guard_reason: str = ""
    """Why they blocked, or what they masked."""
    condensed_question: str = ""
    """The question as it was searched for, where it leaned on the conversation or followed a greeting."""
    withdrawn: bool = False
    notes: tuple[str, ...] = ()
    """What did not happen as asked: a reranker that ran out of time."""
    provisional: bool = False
    """Whether something failed on the way (a reranker, a guard that lets pass what it cannot judge), so that
    the next one who asks may get a better answer: it is not cached."""
    retries: int = 0


class AnswerFailed(ServerUnavailable):
    """The server failed; the passages that were found are here."""

    def __init__(self, cause: ServerUnavailable, passages: tuple[Passage, ...], partial: str = "") -> None:
        """Keep the cause's message; `partial` is what had arrived."""
        super().__init__(cause.problem, mend=cause.mend)
        self.cause = cause
        self.passages = passages
        self.partial = partial


CACHED = (
    "text", "mode", "language", "cited", "invented_citations", "attributed", "reason", "model", "guard",
    "guard_reason", "condensed_question", "notes",
)  # fmt: skip
"""Fields of a cached answer, beside its passages."""


def to_cached(answer: Answer) -> dict[str, Any]:
    """Return what is cached of an answer."""
    return {
        **{name: getattr(answer, name) for name in CACHED},
        "passages": [asdict(passage) for passage in answer.passages],
    }


def from_cached(cached: dict[str, Any], question: str) -> Answer:
    """Return a cached answer, as one to `question`."""
    passages = tuple(
        Passage(**{**passage, "chunk": Chunk(**passage["chunk"]), "also_in": tuple(passage["also_in"])})
        for passage in cached["passages"]
    )
    told = {name: cached[name] for name in CACHED}
    told |= {name: tuple(told[name]) for name in ("cited", "notes")}
    return Answer(question=question, passages=passages, **told)
