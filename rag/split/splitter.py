"""Sections to chunks, each with its place."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator

from llama_index.core.node_parser import SentenceSplitter

from quantserve.rag.config import SplitConfig
from quantserve.rag.loaders.document import Section
from quantserve.rag.split.units import Measure, units
from quantserve.rag.store.chunks import Chunk

_MAX_HEADING = 120
_NO_PARAGRAPHS = "\0"
"""The packer's own idea of paragraphs is not wanted: `units` gives it the pieces."""
_LEAST_ROOM = 0.5
"""A heading may take at most this share of a chunk."""


class Splitter:
    """Cuts sections by one configuration."""

    def __init__(self, config: SplitConfig, count_tokens: Measure) -> None:
        """`count_tokens` counts as the embedding model does."""
        self._config = config
        self._measure: Measure = count_tokens if config.method == "sentence" else len
        self._packer = functools.lru_cache(maxsize=64)(self._make_packer)

    def _make_packer(self, size: int, is_rows: bool) -> SentenceSplitter:
        measure = self._measure

        def pieces(text: str) -> list[str]:
            if is_rows:
                return text.splitlines(keepends=True)
            return units(text, lambda piece: measure(piece) <= size)

        return SentenceSplitter(
            chunk_size=size,
            chunk_overlap=0 if is_rows else min(self._config.overlap, size // 2),
            tokenizer=lambda text: range(measure(text)),
            chunking_tokenizer_fn=pieces,
            paragraph_separator=_NO_PARAGRAPHS,
        )

    def split(self, section: Section, path: str, file: str) -> Iterator[Chunk]:
        """Yield a section's chunks, which with their heading are at most `config.size` large.

        `path` is what the document is known by in the index, `file` the name that people see.
        """
        is_rows = section.unit == "rows"
        heading = section.heading[-_MAX_HEADING:]
        size = self._config.size
        if heading:
            size = max(int(size * _LEAST_ROOM), size - self._measure(heading + "\n"))
        end_of_last = start_of_last = -1
        for text in self._packer(size, is_rows).split_text(section.text):
            if not text.strip():
                continue
            # A chunk begins after the one before it; with overlap, not after that one's end.
            at = section.text.find(text, start_of_last + 1 if self._config.overlap else max(0, end_of_last))
            start_of_last, end_of_last = at, at + len(text)
            shown = _rows_of(section, at, text) if is_rows else heading
            start = section.start + at
            key = f"{path}\0{section.page}\0{start}\0{shown}\0{text}"
            yield Chunk(
                id=hashlib.sha256(key.encode()).hexdigest()[:16],
                path=path,
                file=file,
                page=section.page,
                heading=shown,
                start=start,
                end=start + len(text),
                text=text,
                embedded=f"{heading}\n{text}" if heading else text,
            )


def _rows_of(section: Section, at: int, text: str) -> str:
    first = section.first_row + section.text.count("\n", 0, at)
    last = first + text.count("\n")
    return f"row {first}" if first == last else f"rows {first}–{last}"
