"""Names that a question asks about and no document holds: then there is hardly an answer to it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.retrieve.passage import Passage
from rag.store.korean import kiwi
from rag.text import language_of
from rag.trust.asking import asked_part
from rag.trust.index import SearchedIndex
from rag.trust.loanwords import is_known_loanword

_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*[A-Za-z0-9+]")
_HANGUL = re.compile(r"[가-힣]")
_CLOSEST = 5
_LEAST_SYLLABLES = 2


def names_in(question: str) -> list[str]:
    """Return what names a particular thing in the part of a question that asks.

    Latin letters: words with a capital that is not their sentence's, abbreviations (TPM), and numbers with a
    sign inside (2026-021). Hangul: proper nouns, and nouns that the Korean analyser has never seen (엔비디아).
    """
    asked = asked_part(question)
    is_korean = language_of(asked) == "ko"
    names: dict[str, None] = {}
    sentence_starts = {0, *(match.end() for match in re.finditer(r"[.!?]\s+", asked))}
    shouts = not is_korean and asked.isupper()
    for match in _TOKEN.finditer(asked):
        word = match[0]
        is_start = match.start() in sentence_starts and not is_korean
        abbreviated = not shouts and word.isupper() and sum(c.isalpha() for c in word) > 1
        capital = not shouts and any(character.isupper() for character in (word[1:] if is_start else word))
        numbered = any(c.isdigit() for c in word) and not word.isalnum()
        if abbreviated or (capital and len(word) > 1) or numbered:
            names.setdefault(word)
    if is_korean:
        names.update(dict.fromkeys(_korean_names(asked)))
    return list(names)


def _korean_names(text: str) -> list[str]:
    """Return proper and unknown nouns, each with the nouns it is written together with."""
    found: list[str] = []
    start = end = 0
    is_name = False
    for token in [*kiwi().tokenize(text), None]:
        is_noun = token is not None and token.tag in ("NNP", "NNG", "XSN") and _HANGUL.search(token.form)
        if token is not None and is_noun and token.start == end and end > start:
            end = token.end
        else:
            if is_name and end - start >= _LEAST_SYLLABLES:
                found.append(text[start:end])
            start, end, is_name = (token.start, token.end, False) if token is not None else (0, 0, False)
            if token is not None and not is_noun:
                start = end
        if token is not None and is_noun:
            is_name = is_name or token.tag == "NNP" or bool(token.oov)
    return found


def unseen_names(question: str, passages: Sequence[Passage], generation: SearchedIndex) -> list[str]:
    """Return the names that a question asks about and that stand in no document of the index.

    Upper and lower case are alike, and so are a Korean and a Latin spelling (쿠버네티스, Kubernetes). Where an
    English question finds a Korean passage only abbreviations count, which Korean writes in the same letters.
    """
    if not passages:
        return []
    crossed = language_of(question) == "en" and language_of(passages[0].chunk.text) != "en"
    return [
        name
        for name in names_in(question)
        if not (crossed and not name.isupper()) and not _stands_somewhere(name, generation)
    ]


def _stands_somewhere(name: str, generation: SearchedIndex) -> bool:
    if _HANGUL.search(name):
        vocabulary = generation.vocabulary()
        return (
            any(
                name in word or (word in name and name.startswith(word) and len(word) > 1)
                for word in vocabulary
            )
            or is_known_loanword(name, vocabulary)
            or _is_written(name, generation)
        )
    return _is_written(name, generation)


def _is_written(name: str, generation: SearchedIndex) -> bool:
    """Whether a document holds a name as a word of its own; the plural of an abbreviation is that, too."""
    written = {name.lower(), name.removesuffix("s").lower()}
    rows = [row for form in written for row, _ in generation.search_words(form, _CLOSEST)]
    pattern = re.compile(
        "|".join(rf"(?<![a-z0-9]){re.escape(form)}s?(?![a-z0-9])" for form in sorted(written))
    )
    return any(pattern.search(chunk.embedded.lower()) for chunk in generation.chunks.rows(rows))
