"""Plain text in the encodings Korean and English files come in."""

from __future__ import annotations

import codecs
from pathlib import Path

from rag.errors import UnreadableDocument
from rag.loaders.document import LoadedDocument, Section

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark begins it
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNMARKED = ("utf-8", "cp949")


def decode(data: bytes, name: str) -> str:
    """Decode by byte order mark, else UTF-8, else cp949 (which EUC-KR is part of); newlines become LF.

    Raises:
        UnreadableDocument: it is binary, or in none of these encodings.
    """
    marked = [encoding for mark, encoding in _MARKS if data.startswith(mark)]
    if not marked and b"\0" in data:
        raise UnreadableDocument(f"{name}: is binary, not text", mend="Give a text file, or the right suffix")
    for encoding in marked[:1] or _UNMARKED:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return text.replace("\r\n", "\n").replace("\r", "\n")
    raise UnreadableDocument(
        f"{name}: its encoding is neither UTF-8, UTF-16, UTF-32 nor cp949", mend="Save it as UTF-8"
    )


def load(path: Path) -> LoadedDocument:
    """Read a text file as one section."""
    text = decode(path.read_bytes(), path.name)
    stripped = text.strip()
    return LoadedDocument((Section(stripped, start=len(text) - len(text.lstrip())),))
