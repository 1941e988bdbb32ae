"""Whether two questions ask the same: the test that a semantic hit must pass.

Embeddings put "in 3 days" beside "in 5 days" and "may I" beside "may I not". So their closeness only
proposes; here numbers, negation, names, question words, tense and everything else the questions speak of
must be alike. Whatever is in doubt is not the same: a miss costs a second, a false hit a wrong answer.
"""

from __future__ import annotations

from quantserve.rag.cache.english import english_meaning
from quantserve.rag.cache.korean import korean_meaning
from quantserve.rag.cache.meaning import Meaning
from quantserve.rag.text import language_of, normalise

_MOVED = 2
"""So many phrases may not have another role: whoever changes places changes the roles of two. One may, since
a topic particle hides whether the topic is subject or object."""


def meaning_of(question: str) -> Meaning:
    """Take a question apart by the rules of its language."""
    question = normalise(question)
    return korean_meaning(question) if language_of(question) == "ko" else english_meaning(question)


def same_question(one: str, other: str) -> bool:
    """Whether two questions surely ask the same."""
    return same_meaning(meaning_of(one), meaning_of(other))


def same_meaning(one: Meaning, other: Meaning) -> bool:
    """Whether two questions, taken apart, surely ask the same.

    Words stand in the same order; in Korean they may be moved where every particle stays with its word.
    """
    if (one.language, one.numbers, one.asked, one.manner) != (
        other.language,
        other.numbers,
        other.asked,
        other.manner,
    ):
        return False
    if not one.words or sorted(one.words) != sorted(other.words):
        return False
    if one.language != "ko":
        return one.words == other.words
    changed = {
        phrase for phrase in {*one.roles, *other.roles} if one.roles.get(phrase) != other.roles.get(phrase)
    }
    clashing = any(phrase in one.roles and phrase in other.roles for phrase in changed)
    if clashing or len(changed) >= _MOVED:
        return False
    return one.words == other.words or not changed
