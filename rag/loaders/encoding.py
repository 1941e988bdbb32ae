"""The encoding of a text file: by its mark, else UTF-8, else Korean (cp949), else by its statistics.

UTF-8 and cp949 are tried on the whole file, not on a sample: a name in the last line counts too.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from rag.errors import UnreadableDocument

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark begins it
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_KOREAN = "cp949"
_BLOCK_BYTES = 1 << 20
_SAMPLE_BYTES = 256 << 10
_RARE_SHARE = 0.2
"""Above this share of syllables that only cp949's extension has, the text is not Korean: an accented
letter of Latin-1 before a plain one decodes to such a syllable."""
_LEAST_CHAOS = 0.1
MAX_WHOLE_BYTES = 64 << 20
"""Largest file of a kind that is read at once (Markdown, HTML)."""


def _decodes(blocks: Iterable[bytes], encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    others = rare = 0
    try:
        for block in blocks:
            text = decoder.decode(block)
            if encoding == _KOREAN:
                foreign = [character for character in text if character > "\x7f"]
                others += len(foreign)
                rare += sum(_is_rare(character) for character in foreign)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return rare <= others * _RARE_SHARE


def _is_rare(character: str) -> bool:
    if not "가" <= character <= "힣":
        return False
    # The extension's second byte is an ASCII letter or below 0xA1; KS X 1001's is not.
    first, second = character.encode(_KOREAN)
    return first < 0xA1 or second < 0xA1


def _guess(sample: bytes) -> str | None:
    from charset_normalizer import from_bytes

    best = from_bytes(sample).best()
    if best is None or best.chaos > _LEAST_CHAOS or not best.alphabets or best.encoding.startswith("utf"):
        return None
    return best.encoding if len(sample) >= 32 else None


def _detect(first: bytes, blocks: Iterator[bytes], again: Iterator[bytes], name: str) -> str:
    for mark, encoding in _MARKS:
        if first.startswith(mark):
            return encoding
    if b"\0" in first:
        raise UnreadableDocument(f"{name}: is binary, not text", mend="Give a text file, or the right suffix")
    if _decodes(blocks, "utf-8"):
        return "utf-8"
    if _decodes(again, _KOREAN):
        return _KOREAN
    if (guessed := _guess(first[:_SAMPLE_BYTES])) is not None:
        return guessed
    raise UnreadableDocument(
        f"{name}: its encoding is neither UTF-8, UTF-16, UTF-32 nor cp949", mend="Save it as UTF-8"
    )


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            yield block


def detect(path: Path) -> str:
    """Name the encoding of a file, reading it a megabyte at a time.

    Raises:
        UnreadableDocument: it is binary, or in no encoding that can be told.
    """
    first = next(_blocks(path), b"")
    return _detect(first, _blocks(path), _blocks(path), path.name)


def open_text(path: Path) -> TextIO:
    """Open a text file in its own encoding; newlines become LF.

    Raises:
        UnreadableDocument: it is binary, or in no encoding that can be told.
    """
    return path.open(encoding=detect(path), errors="replace")


def decode(data: bytes, name: str) -> str:
    """Decode bytes in their own encoding; newlines become LF.

    Raises:
        UnreadableDocument: it is binary, or in no encoding that can be told.
    """
    encoding = _detect(data, iter([data]), iter([data]), name)
    return io.TextIOWrapper(io.BytesIO(data), encoding=encoding, errors="replace").read()


def read_whole(path: Path) -> bytes:
    """Read a file that is taken apart in memory.

    Raises:
        UnreadableDocument: it is too large for that.
    """
    size_bytes = path.stat().st_size
    if size_bytes > MAX_WHOLE_BYTES:
        raise UnreadableDocument(
            f"{path.name}: {size_bytes / 1e6:,.0f} MB are too much for a file of this kind "
            f"(at most {MAX_WHOLE_BYTES / 1e6:,.0f} MB)",
            mend="Split it, or give it as plain text",
        )
    return path.read_bytes()
