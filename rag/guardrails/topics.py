"""Topics: what questions or answers may be about, by likeness to examples."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

from quantserve.rag.embedding.backend import Embedder, Floats
from quantserve.rag.guardrails.base import Side, Verdict

_LONGEST = 600
"""Characters of an answer that are compared: its newest ones, so that a stream cannot drift."""


class Topics:
    """Blocks what is closer to an example of a denied topic than to every example of an allowed one."""

    def __init__(
        self,
        allow: Sequence[str],
        deny: Sequence[str],
        min_similarity: float,
        embedder: Callable[[], Embedder],
        name: str = "topics",
    ) -> None:
        """`min_similarity` is the least cosine to an allowed or denied example that says anything."""
        self._examples = [*allow, *deny]
        self._allowed = len(allow)
        self._least = min_similarity
        self._embedder = embedder
        self._lock = threading.Lock()
        self._vectors: Floats | None = None
        self._made_by: Embedder | None = None
        self._name = name

    @property
    def name(self) -> str:
        """What logs and metrics call it."""
        return self._name

    def judge(self, text: str, side: Side, question: str) -> Verdict:
        """Compare a text with the examples."""
        embedder = self._embedder()
        with self._lock:
            # An index of another precision brings another model, whose vectors are not compared with these.
            if self._vectors is None or self._made_by is not embedder:
                self._vectors, self._made_by = embedder.embed_queries(self._examples), embedder
            vectors = self._vectors
        cosines = vectors @ embedder.embed_queries([text[-_LONGEST:]])[0]
        allowed = float(np.max(cosines[: self._allowed], initial=-1.0))
        denied = float(np.max(cosines[self._allowed :], initial=-1.0))
        if denied >= self._least and denied >= allowed:
            closest = self._examples[self._allowed + int(np.argmax(cosines[self._allowed :]))]
            return Verdict(text, f"close to the denied topic '{closest}' ({denied:.2f})")
        if self._allowed and allowed < self._least:
            return Verdict(text, f"close to no allowed topic ({allowed:.2f})")
        return Verdict(text)
