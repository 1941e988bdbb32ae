"""Which loader reads which file, and which files a path stands for."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from core.errors import InputError
from rag.errors import UnreadableDocument
from rag.loaders.document import LoadedDocument

LOADERS: dict[str, str] = {
    ".pdf": "rag.loaders.pdf",
    ".md": "rag.loaders.markdown",
    ".markdown": "rag.loaders.markdown",
    ".txt": "rag.loaders.plain",
    ".text": "rag.loaders.plain",
}
"""Suffix to module; a module has `load(path) -> LoadedDocument` and is imported when first needed."""


def load(path: Path) -> LoadedDocument:
    """Read one file.

    Raises:
        UnreadableDocument: its kind is unknown, it cannot be read, or it holds no text.
    """
    module = LOADERS.get(path.suffix.lower())
    if module is None:
        raise UnreadableDocument(
            f"{path.name}: files of kind '{path.suffix}' are not read", mend=f"Kinds: {', '.join(LOADERS)}"
        )
    try:
        document: LoadedDocument = importlib.import_module(module).load(path)
    except OSError as error:
        raise UnreadableDocument(
            f"{path.name}: {error.strerror or error}", mend="Check that the file exists and may be read"
        ) from error
    if not any(section.text.strip() for section in document.sections):
        problems = f" ({'; '.join(document.warnings)})" if document.warnings else ""
        raise UnreadableDocument(
            f"{path.name}: holds no text{problems}", mend="Remove it, or give a version with text in it"
        )
    return document


def _files_under(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden and path.suffix.lower() in LOADERS:
            yield path


def expand(paths: Iterable[Path]) -> list[Path]:
    """Return the files that paths stand for: files as they are, folders recursively, absolute, once each.

    In folders, hidden files and kinds no loader reads are passed over.

    Raises:
        InputError: a path does not exist.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist", mend="Name a file or a folder with documents")
        files = _files_under(path) if path.is_dir() else [path]
        found.update(dict.fromkeys(file.absolute() for file in files))
    return list(found)
