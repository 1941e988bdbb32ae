"""Is an answer right? Fair to form: case, width, articles, markdown, Korean particles, digits or words."""

from __future__ import annotations

import re
import unicodedata

from quantserve.quantize.gate.facts import Fact

_UNITS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    *("twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_WORDS = {
    **{word: value for value, word in enumerate(_UNITS)},
    **{word: 10 * value for value, word in enumerate(_TENS, start=2)},
    **{f"{ten} {unit}": 10 * t + u for t, ten in enumerate(_TENS, 2) for u, unit in enumerate(_UNITS[:10])},
    **{f"{number} hundred": 100 * value for value, number in ((1, "a"), *enumerate(_UNITS[:10]))},
}
# "one" is mostly no number: the one, one of them.
_NUMBER = re.compile(
    r"(?<![\w.,])\d+(?:,\d{3})*(?:\.\d+)?|\b(?:"
    + "|".join(sorted((word for word in _WORDS if word != "one"), key=len, reverse=True))
    + r")\b"
)
# What may follow a Korean noun inside its word: case markers, the copula, forms of address.
_PARTICLES = re.compile(
    r"(?:은|는|이|가|을|를|의|에|로|으로|와|과|랑|도|만|부터|까지|처럼|보다|께|한테|라|입|예|였|야|님|씨|다\b)"
)
_HANGUL = re.compile(r"[가-힣]")
_MARKUP = re.compile(r"[*`_$]|\\text|[{}](?=[A-Za-z0-9])|(?<=[A-Za-z0-9])[{}]")


def is_right(fact: Fact, answer: str) -> bool:
    """Whether an answer is right, by its prompt's rule.

    contains: an accepted string stands in it as a word of its own, and no rejected one before it.
    exact: it is an accepted string, but for quotes, a full stop and case.
    number: its first number that is not one of the question's is the accepted one; a further accepted
    string, such as a Korean numeral, counts as in `contains`.
    every: all words of an accepted string stand in it. order: the accepted strings, in their order.
    pattern: a regular expression is found in it, and no rejected string before the match.
    """
    text = answer.strip()
    if fact.rule == "pattern":
        return _first((_searched(pattern, text) for pattern in fact.accept), fact, text)
    plain = _plain(text)
    if fact.rule == "exact":
        bare = plain.strip(" \n\t\"'“”‘’.!。")
        return bare in {_plain(accepted) for accepted in fact.accept}
    if fact.rule == "every":
        return any(all(_place(plain, word) is not None for word in one.split()) for one in fact.accept)
    if fact.rule == "order":
        places = [_place(plain, one) for one in fact.accept]
        known = [place for place in places if place is not None]
        return len(known) == len(places) and known == sorted(known)
    if fact.rule == "number":
        new = _numbers(plain, _numbers(_plain(fact.question)))
        if new[:1] == [float(fact.accept[0])]:
            return True
    words = fact.accept[1:] if fact.rule == "number" else fact.accept
    return _first((_place(plain, one) for one in words), fact, plain)


def _first(places: object, fact: Fact, text: str) -> bool:
    found = [place for place in places if place is not None]  # type: ignore[attr-defined]
    wrong = [place for one in fact.reject if (place := _place(_plain(text), one)) is not None]
    return bool(found) and min(found) < min(wrong, default=len(text) + 1)


def _searched(pattern: str, text: str) -> int | None:
    found = re.search(pattern, unicodedata.normalize("NFKC", text))
    return found.start() if found else None


def _plain(text: str) -> str:
    """Return text in one width, without markdown and LaTeX marks, numbers' hyphens and doubled spaces."""
    text = _MARKUP.sub("", unicodedata.normalize("NFKC", text)).replace("’", "'")
    return re.sub(r"[ \t]+", " ", text)


def _place(text: str, wanted: str) -> int | None:
    """Return where a string stands as a word of its own. One Latin letter must have its case: A is no a."""
    wanted = _plain(wanted)
    if len(wanted) > 1 or not wanted.isalpha():
        text, wanted = text.casefold(), wanted.casefold()
    before = r"(?<![가-힣])" if _HANGUL.match(wanted[0]) else r"(?<![A-Za-zÀ-ÿ0-9])"
    for found in re.finditer(before + re.escape(wanted), text):
        tail = text[found.end() :]
        if _HANGUL.match(wanted[-1]):
            if not _HANGUL.match(tail) or _PARTICLES.match(tail):
                return found.start()
        elif not re.match(r"[A-Za-zÀ-ÿ]|\d|[.,:]\d" if wanted[-1].isdigit() else r"[A-Za-zÀ-ÿ0-9]", tail):
            return found.start()
    return None


def _numbers(text: str, known: list[float] | None = None) -> list[float]:
    """Return the numbers in a text, digits or English words, without those known already."""
    joined = re.sub(r"(?<=[a-z])-(?=[a-z])", " ", text.casefold())
    values = [
        float(_WORDS[found] if found in _WORDS else found.replace(",", ""))
        for found in _NUMBER.findall(joined)
    ]
    return [value for value in values if value not in (known or ())]
