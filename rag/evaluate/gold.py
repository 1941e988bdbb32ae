"""Which chunks answer a question: those that hold its evidence, however the splitter cut."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import PurePath

from quantserve.rag.evaluate.questions import Place, Question
from quantserve.rag.store.chunks import Chunk

_NO_LETTER = re.compile(r"[\W_]+")
_HALF = 0.5
"""A chunk that holds this share of evidence in one piece answers, where a cut ran through the evidence."""


def squeezed(text: str) -> str:
    """Letters and digits only, in one form: blanks, hyphens and markup differ by loader."""
    return _NO_LETTER.sub("", unicodedata.normalize("NFKC", text)).lower()


def _longest_piece(evidence: str, text: str) -> int:
    return SequenceMatcher(None, evidence, text, autojunk=False).find_longest_match().size


def chunks_of_place(place: Place, chunks: Sequence[Chunk], texts: Sequence[str]) -> frozenset[int]:
    """Return the rows that hold a place's evidence; `texts` are the chunks' texts, squeezed.

    Chunks that hold it whole win; where a cut ran through it, those that hold at least half.
    """
    evidence = squeezed(place.evidence)
    rows = [row for row, chunk in enumerate(chunks) if PurePath(chunk.file).name == PurePath(place.file).name]
    whole = frozenset(row for row in rows if evidence in texts[row])
    if whole:
        return whole
    return frozenset(row for row in rows if _longest_piece(evidence, texts[row]) >= _HALF * len(evidence))


def gold_rows(question: Question, chunks: Sequence[Chunk], texts: Sequence[str]) -> list[frozenset[int]]:
    """Return, for each place that answers, the rows that hold it; empty sets where the index has none."""
    return [chunks_of_place(place, chunks, texts) for place in question.places]
