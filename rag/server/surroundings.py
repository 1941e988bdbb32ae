"""A passage in its place: the text before and after it on the same page, put together from its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quantserve.rag.store.chunks import Chunk

_REACH = 3000
"""Characters shown before and after."""


@dataclass(frozen=True)
class Surroundings:
    """Text round a passage, empty at the page's ends."""

    before: str
    after: str


def surroundings_of(chunk: Chunk, neighbours: Sequence[Chunk]) -> Surroundings:
    """Join the chunks of the same page round `chunk`; what overlaps is shown once.

    `neighbours` are the document's chunks in reading order. `start` and `end` are offsets in the document's
    text, so two chunks overlap by exactly `end - start` characters.
    """
    same = [other for other in neighbours if other.page == chunk.page and other.id != chunk.id]
    before = ""
    begin = chunk.start
    for other in sorted((o for o in same if o.start < chunk.start), key=lambda o: -o.start):
        if len(before) >= _REACH or other.start >= begin:
            continue
        kept = other.text[: max(0, begin - other.start)]
        gap = begin > other.end
        before = kept + ("\n" if gap and before else "") + before
        if gap and not before.endswith("\n") and begin == chunk.start:
            before += "\n"
        begin = other.start
    after = ""
    end = chunk.end
    for other in sorted((o for o in same if o.end > chunk.end), key=lambda o: o.start):
        if len(after) >= _REACH or other.end <= end:
            continue
        gap = other.start > end
        after += ("\n" if gap else "") + other.text[max(0, end - other.start) :]
        end = other.end
    return Surroundings(before[-_REACH:], after[:_REACH])
