"""How a text keeps to what it was made from: it does not go round in circles, and shares its words.

Whether a passage says what a sentence says is another matter: rag.claims.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from quantserve.rag.store.words import words_of
from quantserve.rag.text import split_sentences

_REPEATS = 3
_LONG = 15


def repeats_itself(text: str) -> bool:
    """Whether a sentence of some length stands in the text three times."""
    counts = Counter(sentence.strip() for sentence in split_sentences(text))
    return any(count >= _REPEATS and len(sentence) >= _LONG for sentence, count in counts.items())


def support(answer: str, sources: Sequence[str]) -> float:
    """Return the share of the answer's distinct words that stand in the sources; 0.0 without words."""
    said = set(words_of(answer))
    known = {word for source in sources for word in words_of(source)}
    return len(said & known) / len(said) if said else 0.0
