"""The encoding of a text file: by its mark, as UTF-8, as declared, as Korean (cp949), or by statistics.

UTF-8 and cp949 are tried on the whole file, not on a sample: a name in the last line counts too. A
declaration (a page's, an XML file's, a server's) is an outsider's word: it names one of the encodings of the
WHATWG's list or nothing, never a codec of Python's (punycode, unicode_escape and undefined are no encodings
of text), and it counts only where the bytes agree with it.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

import webencodings

from quantserve.rag.errors import UnreadableDocument

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark begins it
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_KOREAN = "cp949"
_NOT_DECLARED = frozenset({"utf-16le", "utf-16be", "replacement", "x-user-defined"})
_BLOCK_BYTES = 1 << 20
_SAMPLE_BYTES = 256 << 10
_RARE_SHARE = 0.2
"""Above this share of syllables that only cp949's extension has, the text is not Korean: an accented
letter of Latin-1 before a plain one decodes to such a syllable."""
_LEAST_CHAOS = 0.1
MAX_WHOLE_BYTES = 64 << 20
"""Largest file of a kind that is read at once (Markdown, HTML)."""


def codec_of(label: str) -> str:
    """Return Python's codec for a label of the WHATWG's list; empty for any other.

    UTF-16 is told by its mark alone: a declaration that can be read as ASCII is wrong about it.
    """
    found = webencodings.lookup(label) if label.isascii() else None
    if found is None or found.name in _NOT_DECLARED:
        return ""
    name: str = found.codec_info.name
    return name


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
    except UnicodeError:
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


def decode(data: bytes, name: str, declared: str = "") -> str:
    """Decode bytes in their own encoding; newlines become LF. `declared` is the label that came with them.

    Raises:
        UnreadableDocument: it is binary, or in no encoding that can be told.
    """
    encoding = declared_codec(data, declared) or _detect(data, iter([data]), iter([data]), name)
    return io.TextIOWrapper(io.BytesIO(data), encoding=encoding, errors="replace").read()


def declared_codec(data: bytes, label: str) -> str:
    """Return the codec of a declaration that the bytes agree with; empty where they do not.

    What has a mark, is UTF-8 with more than ASCII in it, or is Korean though declared as Western, is not what
    was declared: nearly any bytes are valid in an encoding of one byte a letter.
    """
    codec = codec_of(label)
    if not codec or any(data.startswith(mark) for mark, _ in _MARKS) or b"\0" in data:
        return ""
    if not data.isascii() and (
        _decodes([data], "utf-8") or (_is_single(codec) and _decodes([data], _KOREAN))
    ):
        return ""
    try:
        data.decode(codec)
    except UnicodeError:
        return ""
    return codec


def _is_single(codec: str) -> bool:
    """Whether each byte is a letter of its own: then there are 256 at most."""
    try:
        return len(bytes(range(0xA1, 0xFF)).decode(codec, errors="replace")) == 0xFF - 0xA1
    except UnicodeError:
        return False


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
