"""Plain text: one section, of a long file blocks that end at blank lines; wrapped paragraphs are joined."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from quantserve.rag.loaders.document import Section, Sections, Warn
from quantserve.rag.loaders.encoding import open_text
from quantserve.rag.loaders.wrapped import unwrapped

_BLOCK_CHARACTERS = 64 << 10


def sections(path: Path, warn: Warn) -> Sections:
    """Read a text file."""
    with open_text(path) as stream:
        start = 0
        for read in _blocks(stream):
            block = unwrapped(read)
            if stripped := block.strip():
                yield Section(stripped, start=start + len(block) - len(block.lstrip()))
            start += len(block)


def _blocks(stream: TextIO) -> Iterator[str]:
    """Yield the text in pieces of a bounded length, cut at a blank line where there is one in time."""
    parts: list[str] = []
    length = 0
    while line := stream.readline(_BLOCK_CHARACTERS):
        parts.append(line)
        length += len(line)
        if length >= 2 * _BLOCK_CHARACTERS or (length >= _BLOCK_CHARACTERS and not line.strip()):
            yield "".join(parts)
            parts, length = [], 0
    if parts:
        yield "".join(parts)
