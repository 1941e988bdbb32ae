"""Citations: [1], [2] must point to passages that were given, and say what they stand behind."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from quantserve.rag.text import split_sentences

_SEPARATOR = r"\s?[,，]\s?"
_CITATION = re.compile(
    rf"(?P<blank>[ \t]?)\[(?:(?:passage|문단)\s?)?(?P<numbers>\d{{1,3}}(?:{_SEPARATOR}\d{{1,3}}){{0,9}})\]",
    re.IGNORECASE,
)
_BEHIND = re.compile(
    rf"(?:\s*{_CITATION.pattern.replace('?P<blank>', '').replace('?P<numbers>', '?:')})+[.。]?"
)
"""Citations behind a full stop: they belong to the sentence that it ends."""
_BEGUN = re.compile(r"\s*(?:\[(?:p(?:a(?:s(?:s(?:a(?:ge?)?)?)?)?)?|문단?)?[\d\s,，]{0,70})?\Z", re.IGNORECASE)
"""A text that may become a citation when more arrives."""


@dataclass(frozen=True)
class CheckedText:
    """A text whose citations all hold; `invented` is how many were removed.

    `is_attributed` is whether the citation is ours, since the text had none that holds.
    """

    text: str
    cited: tuple[int, ...]
    invented: int
    is_attributed: bool = False


class SentenceStream:
    """Cuts a text that arrives in pieces into sentences, each with the citations behind its stop."""

    def __init__(self) -> None:
        """Nothing has arrived."""
        self._held = ""

    def feed(self, piece: str) -> list[str]:
        """Take a piece; return the sentences that are whole now. Joined they are the text again."""
        self._held += piece
        sentences = _with_citations(self._held)
        # The last may go on, and citations may still come behind the stop of the one before it.
        held = 2 if len(sentences) > 1 and _BEGUN.match(sentences[-1]) else 1
        whole = sentences[:-held]
        self._held = "".join(sentences[-held:])
        return whole

    def end(self) -> list[str]:
        """Return what is left."""
        rest, self._held = _with_citations(self._held), ""
        return rest


def _with_citations(text: str) -> list[str]:
    """Cut a text into sentences; what begins with citations gives them to the sentence before."""
    found: list[str] = []
    for sentence in split_sentences(text):
        behind = _BEHIND.match(sentence) if found and found[-1].strip() else None
        if behind is None:
            found.append(sentence)
            continue
        found[-1] += sentence[: behind.end()]
        rest = sentence[behind.end() :]
        if rest.strip():
            found.append(rest)
        else:
            found[-1] += rest
    return found


def without_citations(text: str) -> str:
    """Return a text without any citation."""
    return _CITATION.sub("", text)


def cited_by(sentence: str, proved: Collection[int]) -> CheckedText:
    """Return a sentence with those of its citations that prove it; where none does, with a passage that does.

    `proved` are the passages that say what the sentence says, at least one.
    """
    checked = check_citations(sentence, proved, strip=False)
    if checked.cited:
        return checked
    number = min(proved)
    body = checked.text.rstrip()
    text = f"{body} [{number}]{checked.text[len(body) :]}"
    return CheckedText(text, (number,), checked.invented, is_attributed=True)


def check_citations(text: str, real: Collection[int], *, strip: bool = True) -> CheckedText:
    """Remove citations of other passages than the `real` ones.

    [1, 2] is read as [1][2], [passage 3] and [문단 3] as [3].
    """
    cited: dict[int, None] = {}
    invented = 0

    def mend(match: re.Match[str]) -> str:
        nonlocal invented
        numbers = [int(part) for part in re.split(_SEPARATOR, match["numbers"])]
        kept = [number for number in numbers if number in real]
        invented += len(numbers) - len(kept)
        cited.update(dict.fromkeys(kept))
        return match["blank"] + "".join(f"[{number}]" for number in kept) if kept else ""

    mended = _CITATION.sub(mend, text)
    return CheckedText(mended.strip() if strip else mended, tuple(cited), invented)
