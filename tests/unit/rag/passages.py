"""Passages for tests that need no index."""

from quantserve.rag.retrieve import Passage
from quantserve.rag.store.chunks import Chunk


def passage(text: str, heading: str = "", similarity: float = 0.9) -> Passage:
    return Passage(
        Chunk("id", "/d.md", "d.md", None, heading, 0, len(text), text, text), 1.0, similarity, 1.0
    )
