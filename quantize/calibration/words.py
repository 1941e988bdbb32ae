"""Words, and runs of words in a row: what two texts share shows in these."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator


def words_of(text: str) -> list[str]:
    """Return a text's words without case, punctuation and width."""
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())


def runs(text: str, length: int) -> Iterator[tuple[str, ...]]:
    """Yield every run of `length` words in a row; a shorter text has none."""
    words = words_of(text)
    return (tuple(words[i : i + length]) for i in range(len(words) - length + 1))
