"""Loanwords: 엔비디아 is NVIDIA. A Korean spelling and a Latin one are compared by their sounds.

Both are written as a row of rough consonants with V for any vowels: 토큰 and token are tVkn. Korean writes a
vowel 으 where there is none, and leaves out r, w, h and y that are not heard; so these do not count.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Collection

_FIRST = ["k", "k", "n", "t", "t", "r", "m", "p", "p", "s", "s", "-", "c", "c", "c", "k", "t", "p", "-"]
"""Initial consonants ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ; ㅇ and ㅎ are not heard."""
_LAST = {0: "", 1: "k", 2: "k", 4: "n", 7: "t", 8: "r", 16: "m", 17: "p", 19: "t", 20: "t", 21: "n"}
"""Final consonants that loanwords have: ㄱ ㄲ ㄴ ㄷ ㄹ ㅁ ㅂ ㅅ ㅆ ㅇ."""
_SILENT_VOWEL = 18  # 으
_PAIRS = {
    "ch": "ck",
    "sh": "s",
    "ph": "p",
    "th": "st",
    "ck": "k",
    "gh": "-",
    "qu": "k",
    "ng": "n",
    "tion": "sVn",
}
_LETTERS = {
    "b": "p", "c": "ks", "d": "t", "f": "p", "g": "kc", "h": "-", "j": "c", "k": "k", "l": "r", "m": "m",
    "n": "n", "p": "p", "q": "k", "r": "r-", "s": "sc", "t": "t", "v": "p", "w": "-", "x": "k", "z": "cs",
}  # fmt: skip
_LATIN = re.compile(r"tion|ch|sh|ph|th|ck|gh|qu|ng|[a-z]")
_MOST_WAYS = 64
LEAST_SOUNDS = 5
"""A row shorter than this is like too many words."""


def korean_sounds(word: str) -> str:
    """Return the sounds of a word in Hangul."""
    sounds: list[str] = []
    for character in word:
        code = ord(character) - 0xAC00
        if not 0 <= code < 11172:
            return ""
        first, vowel, last = code // 588, code % 588 // 28, code % 28
        sounds.append(_FIRST[first])
        sounds.append("-" if vowel == _SILENT_VOWEL else "V")
        sounds.append(_LAST.get(last, "?"))
    return _joined("".join(sounds))


@functools.lru_cache(65536)
def latin_sounds(word: str) -> frozenset[str]:
    """Return the ways a word in Latin letters may sound; none where it is too ambiguous."""
    parts: list[list[str]] = []
    letters = word.removesuffix("e") if len(word) > 3 and not word.endswith("ee") else word
    for match in _LATIN.findall(letters):
        if match in ("a", "e", "i", "o", "u", "y"):
            parts.append(["V"])
        elif match == "tion":
            parts.append(["sVn"])
        else:
            parts.append(list(_PAIRS.get(match) or _LETTERS[match]))
    ways = 1
    for part in parts:
        ways *= len(part)
    if ways > _MOST_WAYS:
        return frozenset()
    return frozenset(_joined("".join(way)) for way in itertools.product(*parts))


def is_known_loanword(word: str, vocabulary: Collection[str]) -> bool:
    """Whether a word in Hangul sounds like a Latin word of a vocabulary."""
    sounds = korean_sounds(word)
    if len(sounds) < LEAST_SOUNDS:
        return False
    return any(
        sounds in latin_sounds(known)
        for known in vocabulary
        if known.isascii() and known.isalpha() and abs(len(known) - len(sounds)) <= len(sounds)
    )


def is_loanword_of(word: str, vocabulary: Collection[str]) -> bool:
    """Whether a word in Latin letters sounds like a word in Hangul of a vocabulary."""
    if not (word.isascii() and word.isalpha()):
        return False
    ways = {sounds for sounds in latin_sounds(word.lower()) if len(sounds) >= LEAST_SOUNDS}
    return any(korean_sounds(known) in ways for known in vocabulary if not known.isascii())


def _joined(sounds: str) -> str:
    """Drop what is not heard, and doubles."""
    heard = sounds.replace("-", "")
    return "".join(letter for letter, _ in itertools.groupby(heard))
