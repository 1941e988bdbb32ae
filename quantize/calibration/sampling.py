"""Draw documents by a seed: distinct ones, in an order that depends on their content alone."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from quantserve.quantize.calibration.documents import Document, digest, normal, plain
from quantserve.quantize.calibration.overlap import without_near_duplicates


def draw(documents: Iterable[Document], *, seed: int, max_chars: int) -> list[Document]:
    """Return distinct documents in an order drawn by `seed`, as many as `max_chars` characters need.

    Every document gets the hash of the seed and its words; those with the lowest hashes are taken
    (bottom-k sampling). So a source of any size is read once in little memory, duplicates meet, and the
    same documents in another order give the same draw.
    """
    heap: list[tuple[int, Document]] = []  # highest hash first
    held: set[int] = set()
    chars = 0
    for document in documents:
        words = normal(document)
        if not words:
            continue
        key = -int(digest(str(seed), words)[:16], 16)
        if key in held:
            continue
        held.add(key)
        heapq.heappush(heap, (key, document))
        chars += len(plain(document))
        while chars - (largest := len(plain(heap[0][1]))) >= max_chars:
            held.discard(heapq.heappop(heap)[0])
            chars -= largest
    return without_near_duplicates(document for _, document in sorted(heap, key=lambda item: -item[0]))
