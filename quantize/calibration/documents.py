"""Documents, text or chats that the model's own template renders: their words, and local files of them."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

from quantserve.core.errors import InputError
from quantserve.core.json_input import BadJson, parse_json
from quantserve.quantize.calibration.corpus import Document as Document
from quantserve.quantize.models.companions import LFS_PREFIX

_PIECE_CHARS = 20_000
# ShareGPT's names for the speakers of a conversation.
_ROLES = {"human": "user", "gpt": "assistant", "system": "system", "user": "user", "assistant": "assistant"}
_TEXT_SUFFIXES = (".txt", ".md")
SUFFIXES = (*_TEXT_SUFFIXES, ".jsonl", ".parquet")


class Group(TypedDict):
    """The documents of one source and the share of the calibration tokens it shall fill."""

    source: str
    weight: float
    documents: list[Document]


def plain_text(document: Document) -> str:
    """Return all that is said in a document, without the roles."""
    return document if isinstance(document, str) else "\n\n".join(m["content"] for m in document)


def normal_form(document: Document) -> str:
    """Return a document's words in one form: documents equal in it are duplicates."""
    return " ".join(unicodedata.normalize("NFKC", plain_text(document)).casefold().split())


def digest(*parts: str) -> str:
    """Return the hex SHA-256 of strings in order."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def cut_text(text: str) -> list[Document]:
    """Cut a long text at paragraph ends into documents of about 20,000 characters, none of them blank."""
    found: list[Document] = []
    current = ""
    for paragraph in re.split(r"\n\s*\n", text):
        if current and len(current) + len(paragraph) > _PIECE_CHARS:
            found.append(current)
            current = ""
        current = f"{current}\n\n{paragraph}".strip() if paragraph.strip() else current
    return [*found, current] if current else found


def from_row(row: Any, column: str | None) -> Document | None:
    """Return the document in a row of JSONL, Parquet or a data set; None says that there is none.

    Without `column` the first of "messages", "conversations" and "text" that holds any is taken.
    """
    if not isinstance(row, dict):
        return None
    for name in (column,) if column else ("messages", "conversations", "text"):
        value = row.get(name)
        if isinstance(value, str):
            return value.strip()
        if isinstance(value, list):
            return _messages(value)
    return None


def _messages(value: list[Any]) -> Document | None:
    messages = []
    for message in value:
        if not isinstance(message, dict):
            return None
        role = message.get("role", _ROLES.get(str(message.get("from"))))
        content = message.get("content", message.get("value"))
        if isinstance(content, list):  # OpenAI's parts
            content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
        if role is None or not isinstance(content, str):
            return None
        messages.append({"role": str(role), "content": content})
    return messages


def words_of(text: str) -> list[str]:
    """Return a text's words without case, punctuation and width."""
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())


def runs(text: str, length: int) -> Iterator[tuple[str, ...]]:
    """Yield every run of `length` words in a row; a shorter text has none."""
    words = words_of(text)
    return (tuple(words[i : i + length]) for i in range(len(words) - length + 1))


def read_files(path: Path, column: str | None = None) -> Iterator[Document]:
    """Yield the documents of a file, or of all files in a folder in the order of their names.

    Raises:
        InputError: naming the file (and line) that cannot be read.
    """
    files = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES) if path.is_dir() else [path]
    for file in files:
        _refuse_lfs_pointer(file)
        if file.suffix in _TEXT_SUFFIXES:
            yield from cut_text(_text(file))
        elif file.suffix == ".jsonl":
            yield from _jsonl(file, column)
        elif file.suffix == ".parquet":
            yield from _parquet(file, column)
        else:
            raise InputError(
                f"The calibration file {file} is of no known kind", mend=f"Use one of {', '.join(SUFFIXES)}"
            )


def _refuse_lfs_pointer(file: Path) -> None:
    try:
        with file.open("rb") as stream:
            head = stream.read(len(LFS_PREFIX))
    except OSError as error:
        raise InputError(f"The calibration file {file} cannot be read: {error.strerror}") from error
    if head == LFS_PREFIX:
        raise InputError(
            f"{file} is a Git LFS pointer, not the file itself", mend=f"Run: git -C {file.parent} lfs pull"
        )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"The calibration file {file} is not readable UTF-8 text: {error.reason} at byte {error.start}",
            mend="Convert it: iconv -f CP949 -t UTF-8",
        ) from error


def _jsonl(file: Path, column: str | None) -> Iterator[Document]:
    # Not splitlines(): JSON strings may hold U+2028 as it is.
    for number, line in enumerate(_text(file).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except BadJson as error:
            raise InputError(f"{file}:{number} is not valid JSON: {error}") from error
        document = from_row(row, column)
        if document is None:
            lacks = f"no text in {column!r}" if column else 'neither "text" nor "messages"'
            raise InputError(
                f"{file}:{number} holds {lacks}",
                mend='Write {"text": "…"} or {"messages": [{"role": "user", "content": "…"}, …]}',
            )
        if document:
            yield document


def _parquet(file: Path, column: str | None) -> Iterator[Document]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(file)
        names: list[str] = table.schema_arrow.names
        wanted = column or next((n for n in ("messages", "conversations", "text") if n in names), None)
        if wanted not in names:
            raise InputError(
                f"{file} has no column {wanted or 'text or messages'}; it has {', '.join(names)}",
                mend=f"Name one: --calibration '{file}?column={names[0]}'",
            )
        for batch in table.iter_batches(columns=[wanted]):
            for row in batch.to_pylist():
                document = from_row(row, wanted)
                if document is None and row[wanted] is not None:
                    raise InputError(f"{file}: column {wanted} holds neither text nor chat messages")
                if document:
                    yield document
    except pyarrow.ArrowInvalid as error:
        raise InputError(
            f"The calibration file {file} is not a whole Parquet file: {str(error).splitlines()[0]}"
        ) from error
