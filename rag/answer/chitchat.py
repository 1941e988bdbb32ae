"""Greetings and small talk: answered politely and at once, since no passage can answer them.

Learned, not listed: a text is small talk when it is closer to examples of small talk than to examples of
questions (rag/answer/chitchat.json), by more where the documents speak of what it names. "안녕하세요, 연차는
며칠인가요?" is a question behind a greeting; the greeting is left out of the search.
"""

from __future__ import annotations

import functools
import json
import re
import threading
import weakref
from collections.abc import Sequence
from importlib import resources

import numpy as np
import numpy.typing as npt

from quantserve.rag.embedding.backend import Embedder
from quantserve.rag.store.base import Index
from quantserve.rag.store.words import words_of

Floats = npt.NDArray[np.float32]
NEAREST = 5
"""Examples of each kind whose mean cosine counts."""
LEAST_MARGIN = 0.55
"""By how much small talk must be closer, in standard deviations of a text's cosines to all the examples."""
_SPOKEN_OF = 2.0
"""So many times as much where a passage holds all that the text names;"""
_LONE_WORD = 3.0
"""where the text is one word that the documents hold, which may be what is searched for;"""
_IN_CONVERSATION = 2.0
"""and inside a conversation, where short texts mostly go on with it."""
_MOST_WORDS = 7
_PIECE = re.compile(r"[^,.!?;:…。！？~\n]+[,.!?;:…。！？~\n]*\s*")
_LETTER = re.compile(r"\w")
_PASSAGES = 5


_vectors: weakref.WeakKeyDictionary[Embedder, Floats] = weakref.WeakKeyDictionary()
_embedding = threading.Lock()


@functools.cache
def _examples() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the examples: small talk, questions."""
    told = json.loads(
        (resources.files("quantserve.rag.answer") / "chitchat.json").read_text(encoding="utf-8")
    )
    return tuple(told["chitchat"]), tuple(told["question"])


class Chitchat:
    """Tells small talk from questions to one index. The examples are embedded when first needed."""

    def __init__(self, generation: Index, embedder: Embedder) -> None:
        """`embedder` is the index's own."""
        self._generation, self._embedder = generation, embedder

    def prepare(self) -> None:
        """Embed the examples now, so that no question waits for it; once for an embedding model."""
        self._example_vectors()

    def without(self, text: str, *, in_conversation: bool = False) -> str:
        """Return a text without the small talk round what it asks; empty where there is nothing else."""
        pieces = [match[0] for match in _PIECE.finditer(text) if _LETTER.search(match[0])]
        factor = _IN_CONVERSATION if in_conversation else 1.0
        if len(pieces) < 2:
            return "" if self.is_small_talk(text, factor) else text
        start, end = 0, len(pieces)
        while start < end and self.is_small_talk(pieces[start], factor):
            start += 1
        while end > start and self.is_small_talk(pieces[end - 1], factor):
            end -= 1
        return text if (start, end) == (0, len(pieces)) else "".join(pieces[start:end]).strip()

    def is_small_talk(self, text: str, factor: float = 1.0) -> bool:
        """Whether a text asks for nothing that documents hold."""
        words = set(words_of(text))
        if len(words) > _MOST_WORDS or any(character.isdigit() for character in text):
            return False
        known = {word for word in words if word in self._generation.vocabulary()}
        if known and known == words:
            if len(words) == 1:
                factor = max(factor, _LONE_WORD)
            elif self._speaks_of(text, words):
                factor = max(factor, _SPOKEN_OF)
        return self.margin(text) > factor * LEAST_MARGIN

    def _speaks_of(self, text: str, words: set[str]) -> bool:
        """Whether one passage holds all the words of a text."""
        rows = [row for row, _ in self._generation.search_words(text, _PASSAGES)]
        return any(words <= set(words_of(chunk.embedded)) for chunk in self._generation.chunks.rows(rows))

    def margin(self, text: str) -> float:
        """Return by how much a text is closer to small talk, in deviations of its cosines to the examples."""
        small_talk, _ = _examples()
        cosines = self._example_vectors() @ self._embedder.embed_queries([text.strip()])[0]
        spread = float(cosines.std()) or 1.0
        near = _nearest(cosines[: len(small_talk)]) - _nearest(cosines[len(small_talk) :])
        return near / spread

    def _example_vectors(self) -> Floats:
        with _embedding:
            found = _vectors.get(self._embedder)
            if found is None:
                found = self._embedder.embed_queries([text for kind in _examples() for text in kind])
                _vectors[self._embedder] = found
            return found


def _nearest(cosines: Sequence[float] | Floats) -> float:
    return float(np.sort(np.asarray(cosines))[-NEAREST:].mean())
