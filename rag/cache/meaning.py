"""What a question asks, as words that can be compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:[.,:/]\d+)*%?|\d+(?:[.,:/]\d+)*%?")


@dataclass(frozen=True)
class Meaning:
    """One question taken apart. Two questions that ask the same have all of it alike.

    `words` are what it speaks of, in their order, with a mark on those that are negated; `numbers` in
    their order; `asked` the kinds of question words; `manner` tense and modality. `roles` tell what a
    word does in a Korean sentence; in English its place in the order tells it.
    """

    language: str
    words: tuple[str, ...]
    numbers: tuple[str, ...]
    asked: frozenset[str]
    manner: frozenset[str]
    roles: Mapping[str, str] = field(default_factory=dict)


def number_of(text: str) -> str:
    """Return a number in one spelling: 1,000 is 1000."""
    return re.sub(r",(?=\d{3}\b)", "", text)
