"""Names in a question that no document holds: then there is hardly an answer to it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.retrieve.passage import Passage
from rag.text import language_of
from rag.trust.index import SearchedIndex

_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*[A-Za-z0-9+]")
_CLOSEST = 5


def names_in(question: str) -> list[str]:
    """Return what names a particular thing: words with a capital that is not their sentence's, and numbers
    with a sign inside (2026-021).

    Abbreviations in capitals are left out, since askers use those of their own (OTP, DNS). Latin letters
    only: the Korean analyser takes any loanword for a name.
    """
    names: dict[str, None] = {}
    sentence_starts = {0, *(match.end() for match in re.finditer(r"[.!?]\s+", question))}
    for match in _TOKEN.finditer(question):
        word = match[0]
        written = word[1:] if match.start() in sentence_starts else word
        capital = any(character.isupper() for character in written) and not word.isupper()
        numbered = any(c.isdigit() for c in word) and not word.isalnum()
        if capital or numbered:
            names.setdefault(word)
    return list(names)


def unseen_names(question: str, passages: Sequence[Passage], generation: SearchedIndex) -> list[str]:
    """Return the names of a question that stand in no document of the index, in upper or lower case.

    None where the best passage is in another language, which writes names in its own letters.
    """
    if not passages or (language_of(question) == "en" and language_of(passages[0].chunk.text) != "en"):
        return []
    return [name for name in names_in(question) if not _stands_somewhere(name, generation)]


def _stands_somewhere(name: str, generation: SearchedIndex) -> bool:
    rows = [row for row, _ in generation.search_words(name, _CLOSEST)]
    return any(name.lower() in chunk.embedded.lower() for chunk in generation.chunks.rows(rows))
