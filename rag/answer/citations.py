"""Citations: [1], [2] must point to passages that were given, in a whole text and in one that arrives."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SEPARATOR = r"\s?[,，]\s?"
_CITATION = re.compile(
    rf"(?P<blank>[ \t]?)\[(?:(?:passage|문단)\s?)?(?P<numbers>\d{{1,3}}(?:{_SEPARATOR}\d{{1,3}}){{0,9}})\]",
    re.IGNORECASE,
)
_BEGUN = re.compile(
    r"[ \t]?(?:\[(?:p(?:a(?:s(?:s(?:a(?:ge?)?)?)?)?)?|문단?)?[\d\s,，]{0,70})?\Z", re.IGNORECASE
)
"""The end of a text that may become a citation, or the blank before one, when more arrives."""


@dataclass(frozen=True)
class CheckedText:
    """A text whose citations all exist; `invented` is how many were removed."""

    text: str
    cited: tuple[int, ...]
    invented: int


class CitationStream:
    """Checks a text while it arrives: what may become a citation is held back until it is one, or not."""

    def __init__(self, passages: int) -> None:
        """`passages` were given, numbered from 1."""
        self._passages = passages
        self._held = ""
        self._cited: dict[int, None] = {}
        self.invented = 0

    @property
    def cited(self) -> tuple[int, ...]:
        """The passages cited so far, in the order of citing."""
        return tuple(self._cited)

    def feed(self, piece: str) -> str:
        """Take a piece; return what can be shown."""
        text = self._held + piece
        begun = _BEGUN.search(text)
        at = begun.start() if begun else len(text)
        shown, self._held = text[:at], text[at:]
        return self._mended(shown)

    def end(self) -> str:
        """Return what was held back to the end."""
        shown, self._held = self._mended(self._held), ""
        return shown

    def _mended(self, text: str) -> str:
        return _CITATION.sub(self._mend, text)

    def _mend(self, match: re.Match[str]) -> str:
        numbers = [int(part) for part in re.split(_SEPARATOR, match["numbers"])]
        real = [number for number in numbers if 1 <= number <= self._passages]
        self.invented += len(numbers) - len(real)
        self._cited.update(dict.fromkeys(real))
        return match["blank"] + "".join(f"[{number}]" for number in real) if real else ""


def check_citations(text: str, passages: int) -> CheckedText:
    """Remove citations of passages that do not exist; `passages` were given, numbered from 1.

    [1, 2] is read as [1][2], [passage 3] and [문단 3] as [3].
    """
    stream = CitationStream(passages)
    checked = stream.feed(text) + stream.end()
    return CheckedText(checked.strip(), stream.cited, stream.invented)
