"""What is done to Korean and English text everywhere: Unicode form, language, sentences."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

_SPACES = re.compile(r"[ \t\u00a0\u3000]+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_FIRST_HALF = re.compile(r"[\ud800-\udbff]")
_HANGUL = re.compile(r"[\uac00-\ud7a3\u3131-\u318e]")
_LATIN = re.compile(r"[A-Za-z]")
# A sentence ends at . ! ? … or 。 (with closing quotes and brackets) before a space or the end, or at
# a line break. Korean sentences end the same way; 다. 요. 까? need no rule of their own.
_BOUNDARY = re.compile(r"(?<=[.!?…。！？])[\"'”’)\]」』]*(?=\s|$)\s*|\n+")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|cf|vs|etc|Dr|Mr|Mrs|Ms|Prof|Fig|No|St|al|approx|[A-Z])|(?:^|\s)\d{1,2})\.$"
)
_LONGEST_ABBREVIATION = 12
"""Characters before a full stop that are looked at: a text full of them must not be read again for each."""


def well_formed(text: str) -> str:
    """Return a text that can be written as UTF-8: half of a surrogate pair becomes U+FFFD, two become one.

    Such halves come of bytes that are no UTF-8 on the command line, and of \\ud83d alone in JSON.
    """
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def well_formed_pieces(pieces: Iterable[str]) -> Iterator[str]:
    """Yield a text's pieces `well_formed`; a pair whose halves came in two pieces is put together."""
    held = ""
    for piece in pieces:
        text = held + piece
        held = text[-1:] if _FIRST_HALF.match(text[-1:]) else ""
        yield well_formed(text.removesuffix(held) if held else text)
    if held:
        yield well_formed(held)


def normalise(text: str) -> str:
    """Compose to NFC (macOS writes loose jamo), collapse runs of blanks within lines, strip; `well_formed`.

    The embedding model's own table maps single code points only, so composing is up to us.
    """
    return _SPACES.sub(" ", unicodedata.normalize("NFC", well_formed(text))).strip()


def hangul_share(text: str) -> float:
    """Share of Hangul among the Hangul syllables and Latin letters; 0.0 without any."""
    hangul, latin = len(_HANGUL.findall(text)), len(_LATIN.findall(text))
    return hangul / (hangul + latin) if hangul + latin else 0.0


def language_of(text: str) -> str:
    """Return "ko" or "en".

    A Korean sentence full of English terms is Korean (its syllables carry more each than a letter
    does), so a fifth of Hangul is enough.
    """
    return "ko" if hangul_share(text) >= 0.2 else "en"


def pieces_of(text: str, most: int) -> Iterator[str]:
    """Cut a text into pieces of at most so many characters, between words if it can be; joined they are it.

    For Kiwi, which holds every reading of a text in memory until its end.
    """
    at = 0
    while at < len(text):
        end = at + most
        if end < len(text):
            blank = max(text.rfind(" ", at + most // 2, end), text.rfind("\n", at + most // 2, end))
            end = blank + 1 if blank >= 0 else end
        yield text[at:end]
        at = end


def split_sentences(text: str) -> list[str]:
    """Split into sentences that, joined, are `text` again: blanks stay with the sentence before them."""
    sentences: list[str] = []
    start = 0
    for match in _BOUNDARY.finditer(text):
        end = match.end()
        if end == start or (
            text[match.start() : end].count("\n") == 0
            and _ABBREVIATION.search(text[max(start, match.start() - _LONGEST_ABBREVIATION) : match.start()])
        ):
            continue
        sentences.append(text[start:end])
        start = end
    if start < len(text):
        sentences.append(text[start:])
    return sentences
