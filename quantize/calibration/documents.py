"""Documents: plain text, or chat messages that the model's own template renders; how rows become them."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Any, TypedDict

Document = str | list[dict[str, str]]
_PIECE_CHARS = 20_000
# ShareGPT's names for the speakers of a conversation.
_ROLES = {"human": "user", "gpt": "assistant", "system": "system", "user": "user", "assistant": "assistant"}


class Group(TypedDict):
    """The documents of one source and the share of the calibration tokens it shall fill."""

    source: str
    weight: float
    documents: list[Document]


def plain(document: Document) -> str:
    """Return all that is said in a document, without the roles."""
    return document if isinstance(document, str) else "\n\n".join(m["content"] for m in document)


def normal(document: Document) -> str:
    """Return a document's words in one form: documents equal in it are duplicates."""
    return " ".join(unicodedata.normalize("NFKC", plain(document)).casefold().split())


def digest(*parts: str) -> str:
    """Return the hex SHA-256 of strings in order."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def pieces(text: str) -> list[Document]:
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
