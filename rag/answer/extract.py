"""Answer by quoting: the sentences of the passages that come closest to the question."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quantserve.rag.claims import Prover, read
from quantserve.rag.claims.proof import whole_sentences
from quantserve.rag.embedding.backend import Embedder
from quantserve.rag.retrieve import Passage
from quantserve.rag.store.words import words_of

_MIN_CHARACTERS = 8
_MIN_UNENDED = 16
"""A line without a full stop may be a row of a table; a shorter one without a figure is a heading."""
_FIGURE = re.compile(r"(?<=\D{4})\d")
_END = re.compile(r"[.!…。][\"'”’)\]]*$")
_WORD_WEIGHT = 0.1
"""Cosines of this model family differ by hundredths; a question whose words all occur gains a tenth."""
_RANK_WEIGHT = 0.015
_MARGIN = 0.05
"""Sentences further than this under the best are left out."""


@dataclass(frozen=True)
class Quote:
    """A sentence, exactly as it stands in passage `number` (from 1)."""

    text: str
    number: int
    score: float


def quotes_text(quotes: Sequence[Quote]) -> str:
    """Write quotes with their citations, one a line."""
    return "\n".join(f"{quote.text} [{quote.number}]" for quote in quotes)


def _answers(sentence: str) -> bool:
    if sentence.endswith("?") or sentence.startswith(("```", "|--", "| --", "|:-")):
        return False
    whole = _END.search(sentence) or _FIGURE.search(sentence)
    return len(sentence) >= (_MIN_CHARACTERS if whole else _MIN_UNENDED)


def _sentences(question: str, passages: Sequence[Passage]) -> list[tuple[str, int]]:
    """Return the sentences that may answer, each with the first passage that holds it.

    One that only says again what was asked (a heading) answers a question for something unknown by nothing.
    """
    asks, echo = read(question).asks, Prover((question,), ())
    seen: dict[str, int] = {}
    for number, passage in enumerate(passages, start=1):
        for sentence in whole_sentences(passage.chunk.text):
            stripped = sentence.strip()
            if _answers(stripped) and not (asks and echo.says_nothing(stripped)):
                seen.setdefault(stripped, number)
    return list(seen.items())


def best_sentences(question: str, passages: Sequence[Passage], embedder: Embedder, count: int) -> list[Quote]:
    """Return up to `count` sentences, best first by cosine, shared words and the passage's rank.

    Questions in the text are passed over: they are like the question, and answer nothing.
    """
    candidates = _sentences(question, passages)
    if not candidates or count < 1:
        return []
    texts = [text for text, _ in candidates]
    headed = [f"{passages[number - 1].chunk.heading}\n{text}".strip() for text, number in candidates]
    query = embedder.embed_queries([question])[0]
    cosines = embedder.embed_passages(headed) @ query
    asked = set(words_of(question))
    shared = np.array([len(asked & set(words_of(text))) / max(1, len(asked)) for text in texts])
    ranks = np.array([number - 1 for _, number in candidates])
    scores = cosines + _WORD_WEIGHT * shared - _RANK_WEIGHT * ranks
    order = np.argsort(-scores, kind="stable")[:count]
    best = float(scores[order[0]])
    return [
        Quote(texts[index], candidates[index][1], float(scores[index]))
        for index in order
        if scores[index] >= best - _MARGIN
    ]
