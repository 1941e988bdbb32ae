"""English and Korean text of our own making, in two sets that share no passage.

In: nothing; the sets ship as `calibration.jsonl` and `evaluation.jsonl` beside this file. Out: documents
to calibrate on, and documents kept apart to measure perplexity on. Run as a module
(`python -m quantserve.quantize.calibration.corpus`) it checks the hand-written
`sources/` and assembles both files from them.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Literal

Document = str | list[dict[str, str]]
"""Plain text, or chat messages that the model's own template renders."""
SetName = Literal["calibration", "evaluation"]
Language = Literal["en", "ko"]
LANGUAGES: tuple[Language, ...] = ("en", "ko")


@dataclass(frozen=True)
class CorpusEntry:
    """One document of a set: plain text, or chat messages that the model's own template renders."""

    id: str
    language: Language
    kind: str
    document: Document


@functools.cache
def entries(name: SetName) -> tuple[CorpusEntry, ...]:
    """Return a set's documents with their language and kind, in the file's order."""
    text = resources.files(__name__).joinpath(f"{name}.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return tuple(
        CorpusEntry(
            row["id"], row["language"], row["kind"], row["text"] if "text" in row else row["messages"]
        )
        for row in rows
    )


def _documents(name: SetName, language: Language | None) -> list[Document]:
    return [entry.document for entry in entries(name) if language in (None, entry.language)]


def calibration_documents(language: Language | None = None) -> list[Document]:
    """Return the documents to calibrate on, of one language or of both."""
    return _documents("calibration", language)


def evaluation_documents(language: Language | None = None) -> list[Document]:
    """Return the documents reserved for evaluation, of one language or of both; never calibrate on them."""
    return _documents("evaluation", language)
