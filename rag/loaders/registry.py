"""Which loader reads which file."""

from __future__ import annotations

import importlib
from pathlib import Path

from quantserve.rag.errors import UnreadableDocument
from quantserve.rag.loaders.document import LoadedDocument, Sections, Warn
from quantserve.rag.loaders.kinds import kind_of, special_kind

LOADERS: dict[str, str] = {
    ".pdf": "quantserve.rag.loaders.pdf",
    ".md": "quantserve.rag.loaders.markdown",
    ".markdown": "quantserve.rag.loaders.markdown",
    ".txt": "quantserve.rag.loaders.plain",
    ".text": "quantserve.rag.loaders.plain",
    ".html": "quantserve.rag.loaders.html",
    ".htm": "quantserve.rag.loaders.html",
    ".csv": "quantserve.rag.loaders.table",
    ".tsv": "quantserve.rag.loaders.table",
    ".docx": "quantserve.rag.loaders.docx",
    ".jsonl": "quantserve.rag.loaders.jsonl",
    ".ndjson": "quantserve.rag.loaders.jsonl",
    ".parquet": "quantserve.rag.loaders.parquet",
}
"""Suffix to module; a module has `sections(path, warn)` and is imported when first needed."""


def read(path: Path, warn: Warn) -> Sections:
    """Yield the sections of one file that hold text, made as they are asked for.

    Raises:
        UnreadableDocument: its kind is unknown, it cannot be read, or it holds no text.
    """
    try:
        module = _loader_of(path)
    except OSError as error:
        raise _no_access(path, error) from error
    problems: list[str] = []

    def heard(problem: str) -> None:
        problems.append(problem)
        warn(problem)

    empty = True
    try:
        for section in importlib.import_module(module).sections(path, heard):
            if section.text.strip():
                empty = False
                yield section
    except OSError as error:
        raise _no_access(path, error) from error
    if empty:
        what = f" ({'; '.join(problems)})" if problems else ""
        raise UnreadableDocument(
            f"{path.name}: holds no text{what}", mend="Remove it, or give a version with text in it"
        )


def _loader_of(path: Path) -> str:
    """Return the module for a file.

    Raises:
        UnreadableDocument: there is none.
        OSError: the file cannot be looked at.
    """
    if special := special_kind(path.stat().st_mode):
        raise UnreadableDocument(f"{path.name}: is a {special}, not a file", mend="Name a file")
    module = LOADERS.get(path.suffix.lower())
    if module is None:
        raise UnreadableDocument(
            f"{path.name}: {kind_of(path)}, of which no text is read",
            mend=f"Kinds: {', '.join(LOADERS)}",
        )
    return module


def _no_access(path: Path, error: OSError) -> UnreadableDocument:
    return UnreadableDocument(
        f"{path.name}: {error.strerror or error}", mend="Check that the file exists and may be read"
    )


def load(path: Path) -> LoadedDocument:
    """Read one file at once.

    Raises:
        UnreadableDocument: its kind is unknown, it cannot be read, or it holds no text.
    """
    warnings: list[str] = []
    sections = tuple(read(path, warnings.append))
    return LoadedDocument(sections, tuple(warnings))
