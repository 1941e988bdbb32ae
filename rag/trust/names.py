"""Names that a question asks about and no document holds: then there is hardly an answer to it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from quantserve.rag.retrieve.passage import Passage
from quantserve.rag.store.korean import kiwi
from quantserve.rag.store.words import words_of
from quantserve.rag.text import language_of
from quantserve.rag.trust.asking import asked_part
from quantserve.rag.trust.index import SearchedIndex
from quantserve.rag.trust.loanwords import is_known_loanword, is_loanword_of

if TYPE_CHECKING:
    from kiwipiepy import Token

_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*[A-Za-z0-9+]")
_LATIN = re.compile(r"[a-z0-9]")
_HANGUL = re.compile(r"[가-힣]")
_CLOSEST = 5
_LEAST_SYLLABLES = 2
_TITLE_WORDS = 4
_ABOUT = ("JKS", "JKO", "JKG", "VCP", "SF")
_TOPIC = frozenset({"은", "는", "ᆫ"})
_IN_CHAIN = frozenset({"NNP", "NNG", "SL", "SN"})


def names_in(question: str) -> list[str]:
    """Return what names a particular thing in the part of a question that asks.

    Latin letters: words with a capital that is not their sentence's, abbreviations (TPM), and numbers with a
    sign inside (2026-021). Hangul: proper nouns (엔비디아), and nouns the Korean analyser has never seen.
    """
    asked = asked_part(question)
    is_korean = language_of(asked) == "ko"
    names: dict[str, None] = {}
    sentence_starts = {0, *(match.end() for match in re.finditer(r"[.!?]\s+", asked))}
    shouts = not is_korean and asked.isupper()
    titled = not is_korean and _is_title(asked)
    for match in _TOKEN.finditer(asked):
        word = match[0]
        is_start = match.start() in sentence_starts and not is_korean
        abbreviated = not shouts and word.isupper() and sum(c.isalpha() for c in word) > 1
        capital = not (shouts or titled) and any(
            character.isupper() for character in (word[1:] if is_start else word)
        )
        numbered = any(c.isdigit() for c in word) and not word.isalnum()
        if abbreviated or (capital and len(word) > 1) or numbered:
            names.setdefault(word)
    if is_korean:
        names.update(dict.fromkeys(_korean_names(asked)))
    return list(names)


def _is_title(text: str) -> bool:
    """Whether capitals tell nothing, since nearly every word has one: How Many Users Were In The Pilot?"""
    words = [match[0] for match in _TOKEN.finditer(text) if match[0][0].isalpha()]
    return len(words) >= _TITLE_WORDS and sum(word[0].isupper() for word in words) > 0.7 * len(words)


def _korean_names(text: str) -> list[str]:
    """Return the names in Hangul that a question is about, each with the nouns it is joined to.

    What a question is about is its topic, subject, object or an owner, with the nouns before it: 엔비디아
    GPU는, not 애플 컴퓨터에서. A proper noun counts there, and one that the analyser has never seen.
    """
    found: list[str] = []
    chain: list[Token] = []
    for token in kiwi().tokenize(text):
        if token.tag in _IN_CHAIN:
            chain.append(token)
            continue
        if token.tag.startswith(_ABOUT) or (token.tag == "JX" and token.form in _TOPIC):
            found += _names_of(chain, text)
        chain = []
    return found + _names_of(chain, text)  # a few words without a particle: 엔비디아 주가


def _names_of(chain: Sequence[Token], text: str) -> list[str]:
    return [name for run in _joined(chain) for name in _name_of(run, text)]


def _joined(chain: Sequence[Token]) -> list[list[Token]]:
    """Cut a chain of nouns where a blank stands between two."""
    runs: list[list[Token]] = []
    for token in chain:
        if runs and runs[-1][-1].end == token.start:
            runs[-1].append(token)
        else:
            runs.append([token])
    return runs


def _name_of(run: Sequence[Token], text: str) -> list[str]:
    is_name = any(token.tag == "NNP" or (token.oov and token.tag == "NNG") for token in run)
    name = text[run[0].start : run[-1].end] if is_name else ""
    return [name] if len(name) >= _LEAST_SYLLABLES and _HANGUL.search(name) else []


def unseen_names(question: str, passages: Sequence[Passage], generation: SearchedIndex) -> list[str]:
    """Return the names that a question asks about and that stand in no document of the index.

    Upper and lower case are alike, and so are a Korean and a Latin spelling (엔비디아, NVIDIA). Where
    an English question finds a Korean passage only abbreviations count, which both write alike.
    """
    if not passages:
        return []
    crossed = language_of(question) == "en" and language_of(passages[0].chunk.text) != "en"
    return [
        name
        for name in names_in(question)
        if words_of(name)  # a capital makes no name of what no search looks for: How Many Were In The …
        and not (crossed and not name.isupper())
        and not _stands_somewhere(name, generation)
    ]


def _stands_somewhere(name: str, generation: SearchedIndex) -> bool:
    words = generation.vocabulary()
    if not _HANGUL.search(name):
        return _is_written(name, generation) or is_loanword_of(name, words)
    is_word = any(name in word or (len(word) >= _LEAST_SYLLABLES and name.startswith(word)) for word in words)
    return is_word or is_known_loanword(name, words) or _is_written(name, generation)


def _is_written(name: str, generation: SearchedIndex) -> bool:
    """Whether a document holds a name as a word of its own; the plural of an abbreviation is that, too."""
    written = {name.lower(), name.removesuffix("s").lower()}
    rows = [row for form in written for row, _ in generation.search_words(form, _CLOSEST)]
    texts = [chunk.embedded.lower() for chunk in generation.chunks.rows(rows)]
    return any(_is_word(form + plural, text) for text in texts for form in written for plural in ("", "s"))


def _is_word(form: str, text: str) -> bool:
    """Whether a text holds a form that no Latin letter and no figure goes on."""
    at = text.find(form)
    while at >= 0:
        if not any(_LATIN.match(beside) for beside in (text[at - 1 : at], text[at + len(form) :][:1])):
            return True
        at = text.find(form, at + 1)
    return False
