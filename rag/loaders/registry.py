"""Which loader reads which file, and which files a path stands for."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from core.errors import InputError
from rag.errors import UnreadableDocument
from rag.loaders.document import LoadedDocument, Sections, Warn

LOADERS: dict[str, str] = {
    ".pdf": "rag.loaders.pdf",
    ".md": "rag.loaders.markdown",
    ".markdown": "rag.loaders.markdown",
    ".txt": "rag.loaders.plain",
    ".text": "rag.loaders.plain",
    ".html": "rag.loaders.html",
    ".htm": "rag.loaders.html",
    ".csv": "rag.loaders.table",
    ".tsv": "rag.loaders.table",
    ".docx": "rag.loaders.docx",
    ".jsonl": "rag.loaders.jsonl",
    ".ndjson": "rag.loaders.jsonl",
    ".parquet": "rag.loaders.parquet",
}
"""Suffix to module; a module has `sections(path, warn)` and is imported when first needed."""


def read(path: Path, warn: Warn) -> Sections:
    """Yield the sections of one file that hold text, made as they are asked for.

    Raises:
        UnreadableDocument: its kind is unknown, it cannot be read, or it holds no text.
    """
    module = LOADERS.get(path.suffix.lower())
    if module is None:
        raise UnreadableDocument(
            f"{path.name}: files of kind '{path.suffix}' are not read", mend=f"Kinds: {', '.join(LOADERS)}"
        )
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
        raise UnreadableDocument(
            f"{path.name}: {error.strerror or error}", mend="Check that the file exists and may be read"
        ) from error
    if empty:
        what = f" ({'; '.join(problems)})" if problems else ""
        raise UnreadableDocument(
            f"{path.name}: holds no text{what}", mend="Remove it, or give a version with text in it"
        )


def load(path: Path) -> LoadedDocument:
    """Read one file at once.

    Raises:
        UnreadableDocument: its kind is unknown, it cannot be read, or it holds no text.
    """
    warnings: list[str] = []
    sections = tuple(read(path, warnings.append))
    return LoadedDocument(sections, tuple(warnings))


def _files_under(folder: Path) -> Iterator[Path]:
    real = folder.resolve()
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.suffix.lower() not in LOADERS or not path.is_file():
            continue
        if not path.is_symlink() or path.resolve().is_relative_to(real):
            yield path


def expand(paths: Iterable[Path]) -> list[Path]:
    """Return the files that paths stand for: files as they are, folders recursively, absolute, once each.

    In folders, hidden files, kinds no loader reads, and links that lead out of the folder are passed over.
    `a/../b.md` is `b.md`: one file has one name.

    Raises:
        InputError: a path does not exist.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist", mend="Name a file or a folder with documents")
        files = _files_under(path) if path.is_dir() else [path]
        found.update(dict.fromkeys(Path(os.path.normpath(file.absolute())) for file in files))
    return list(found)
