"""Read calibration documents: the built-in text, text files, or JSONL with text or chat messages."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import InputError
from quantize.calibration import builtin

# A document is plain text, or chat messages that the model's own template renders.
Document = str | list[dict[str, str]]
_TEXT_SUFFIXES = (".txt", ".md")
_SUFFIXES = (*_TEXT_SUFFIXES, ".jsonl")


@dataclass(frozen=True)
class Text:
    """Documents in order, where they came from, and the hash of their content."""

    source: str
    documents: list[Document]
    sha256: str
    languages: dict[str, float]


def load(path: Path | None) -> Text:
    """Read the documents of a file or of all files in a folder; None reads the built-in text.

    Raises:
        InputError: naming the file (and line) that cannot be read, or a source without any text.
    """
    if path is None:
        return _text(builtin.SOURCE, [builtin.calibration_text()], {builtin.LANGUAGE: 1.0})
    if not path.exists():
        raise InputError(f"The calibration source {path} does not exist", mend="Name a file or a folder")
    files = sorted(p for p in path.rglob("*") if p.suffix in _SUFFIXES) if path.is_dir() else [path]
    documents: list[Document] = []
    for file in files:
        if file.suffix not in _SUFFIXES:
            raise InputError(
                f"The calibration file {file} is of no known kind", mend=f"Use one of {', '.join(_SUFFIXES)}"
            )
        documents += _read_jsonl(file) if file.suffix == ".jsonl" else _read_text(file)
    if not documents:
        raise InputError(f"The calibration source {path} holds no text", mend="Name one that does")
    return _text(str(path), documents, {})


def _text(source: str, documents: list[Document], languages: dict[str, float]) -> Text:
    canonical = json.dumps(documents, ensure_ascii=False, separators=(",", ":")).encode()
    return Text(source, documents, hashlib.sha256(canonical).hexdigest(), languages)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The calibration file {file} is not readable UTF-8 text: {error}") from error


def _read_text(file: Path) -> list[Document]:
    text = _read(file).strip()
    return [text] if text else []


def _read_jsonl(file: Path) -> list[Document]:
    documents: list[Document] = []
    for number, line in enumerate(_read(file).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{file}:{number} is not valid JSON: {error.msg}") from error
        document = _document(row)
        if document is None:
            raise InputError(
                f'{file}:{number} holds neither "text" nor "messages"',
                mend='Write {"text": "…"} or {"messages": [{"role": "user", "content": "…"}, …]}',
            )
        if document:
            documents.append(document)
    return documents


def _document(row: Any) -> Document | None:
    """Return the document in a JSONL row, or None when there is none."""
    if not isinstance(row, dict):
        return None
    if isinstance(row.get("text"), str):
        text: str = row["text"]
        return text.strip()
    messages = row.get("messages")
    if not isinstance(messages, list):
        return None
    if not all(isinstance(m, dict) and isinstance(m.get("content"), str) and "role" in m for m in messages):
        return None
    return [{"role": str(m["role"]), "content": m["content"]} for m in messages]
