"""The same text found twice: copies of a file may not fill the first places."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

from quantserve.rag.store.chunks import Chunk


def plain(text: str) -> str:
    """Return a text as copies of it have it alike: composed, in small letters, one blank between words.

    Nothing less counts as a copy: two versions of a manual that differ in one figure or sign are two facts.
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


@dataclass
class Distinct:
    """Takes chunks in the order of rank and keeps the first of those that say the same.

    A chunk that stands whole in one before it says nothing new either.
    """

    kept: list[int] = field(default_factory=list)
    """Places, in the order of taking, of the chunks that were kept."""
    also_in: dict[int, list[str]] = field(default_factory=dict)
    """By the place of a kept chunk: the other files that hold its text."""
    _plain: dict[int, str] = field(default_factory=dict)
    _files: dict[int, str] = field(default_factory=dict)
    _by_text: dict[str, int] = field(default_factory=dict)
    _taken: int = 0

    def take(self, chunk: Chunk) -> bool:
        """Take the next chunk; return whether it is kept."""
        place, self._taken = self._taken, self._taken + 1
        text = f" {plain(chunk.text)} "
        first = self._by_text.get(text)
        if first is None:
            first = next((one for one in self.kept if text in self._plain[one]), None)
        if first is None:
            self.kept.append(place)
            self._plain[place], self._files[place] = text, chunk.file
            self._by_text[text] = place
            return True
        others = self.also_in.setdefault(first, [])
        if chunk.file != self._files[first] and chunk.file not in others:
            others.append(chunk.file)
        return False
