"""What a generation was made from and with."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rag.errors import IndexMismatch

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1
_LIBRARIES = ("llama-index-core", "faiss-cpu", "bm25s", "kiwipiepy", "pypdfium2")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Settings(_Strict):
    """Whatever changes chunks or vectors; another value means embedding everything again."""

    embedding_model: str
    embedding_fingerprint: str
    chunk_tokens: int
    overlap_tokens: int
    splitter: Literal["sentence"] = "sentence"
    words: Literal["kiwi"] = "kiwi"
    loader_version: int = 1


class FileEntry(_Strict):
    """One file: its rows in the index, or the problem it had."""

    file: str = Field(description="the name people see")
    sha256: str
    size_bytes: int
    chunks: int = 0
    warnings: tuple[str, ...] = ()
    problem: str = ""


class IndexManifest(_Strict):
    """Written last; a generation without it does not exist."""

    schema_version: int = SCHEMA_VERSION
    created: str
    settings: Settings
    dimension: int
    chunks: int
    roots: tuple[str, ...] = Field(description="absolute paths that were indexed; folders are read again")
    files: dict[str, FileEntry] = Field(description="by absolute path")
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
            mend=f"Remove {directory.parent} and index again: python -m rag index PATH",
        ) from error
