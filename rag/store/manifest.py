"""What a generation was made from and with."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quantserve.rag.config import SplitMethod
from quantserve.rag.errors import IndexMismatch

MANIFEST = "manifest.json"
SCHEMA_VERSION: Literal[2] = 2
LOADER_VERSION = 3
"""Counts up when loaders or splitter give other text for the same file."""
_LIBRARIES = ("llama-index-core", "faiss-cpu", "bm25s", "kiwipiepy", "pypdfium2")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Settings(_Strict):
    """Whatever changes chunks or vectors; another value means embedding everything again."""

    embedding_model: str
    embedding_fingerprint: str
    splitter: SplitMethod
    chunk_size: int = Field(description="tokens by sentence, characters by characters")
    chunk_overlap: int
    words: Literal["kiwi"] = "kiwi"
    loader_version: int = LOADER_VERSION


class FileEntry(_Strict):
    """One file or web page: its rows in the index, or the problem it had."""

    file: str = Field(description="the name people see")
    sha256: str
    size_bytes: int
    chunks: int = 0
    warnings: tuple[str, ...] = ()
    problem: str = ""
    stale: str = ""
    """Why the file could not be compared with what is indexed of it."""


class IndexManifest(_Strict):
    """Written last; a generation without it does not exist."""

    schema_version: Literal[2] = SCHEMA_VERSION
    created: str
    settings: Settings
    dimension: int
    chunks: int
    roots: tuple[str, ...] = Field(description="absolute paths and addresses; they are read again")
    excluded: tuple[str, ...] = Field((), description="files under the roots that were taken out by hand")
    files: dict[str, FileEntry] = Field(description="by absolute path or address")
    versions: dict[str, str]


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that shape an index."""
    return {name: importlib.metadata.version(name) for name in _LIBRARIES}


def read_manifest(directory: Path) -> IndexManifest:
    """Read a generation's manifest.

    Raises:
        IndexMismatch: this program does not understand it.
    """
    try:
        return IndexManifest.model_validate_json((directory / MANIFEST).read_bytes())
    except (OSError, ValidationError) as error:
        raise IndexMismatch(
            f"the index {directory} was made by another version of this program, or is damaged",
            mend=f"Remove {directory.parent} and index again: quantserve rag index PATH",
        ) from error
