"""An upload on its way to disk: multipart parts written as they arrive, renamed when all are whole."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from quantserve.core.errors import InputError
from quantserve.core.files import private_folder
from quantserve.core.http.refusal import Refusal
from quantserve.core.terminal import one_line
from quantserve.rag.ingest.names import upload_name
from quantserve.rag.loaders.kinds import kind_of
from quantserve.rag.loaders.registry import LOADERS

_HALF = ".upload-"
_HEADERS_BYTES = 16_384
"""What the headers of one part may take; python-multipart bounds single lines, not their number."""


@dataclass
class _Part:
    """One file being received."""

    name: str
    temporary: Path
    stream: BinaryIO
    size: int = 0

    @property
    def is_read(self) -> bool:
        """Whether some loader reads it."""
        return Path(self.name).suffix.lower() in LOADERS


@dataclass(frozen=True)
class Uploaded:
    """What came of an upload."""

    paths: list[Path]
    """Files to index, in their place."""
    skipped: dict[str, str]
    """Files that no loader reads, with their format; they are not kept."""


@dataclass
class _Headers:
    name: bytearray = field(default_factory=bytearray)
    value: bytearray = field(default_factory=bytearray)
    found: dict[bytes, bytes] = field(default_factory=dict)
    size: int = 0


class _Receiver:
    """Callbacks of the parser."""

    def __init__(self, folder: Path, max_files: int, max_bytes: int) -> None:
        self._folder, self._max_files, self._max_bytes = folder, max_files, max_bytes
        self._headers = _Headers()
        self.parts: list[_Part] = []
        self.is_whole = False

    def on_part_begin(self) -> None:
        self._headers = _Headers()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._headers.name += self._counted(data, start, end)

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._headers.value += self._counted(data, start, end)

    def _counted(self, data: bytes, start: int, end: int) -> bytes:
        self._headers.size += end - start
        if self._headers.size > _HEADERS_BYTES:
            raise Refusal(400, "invalid_multipart", "the headers of a part are too long")
        return data[start:end]

    def on_header_end(self) -> None:
        headers = self._headers
        headers.found[bytes(headers.name).lower()] = bytes(headers.value)
        headers.name, headers.value = bytearray(), bytearray()

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.found.get(b"content-disposition", b""))
        given = options.get(b"filename")
        if given is None:
            field_name = options.get(b"name", b"").decode(errors="replace")[:80]
            raise Refusal(400, "unexpected_field", f"'{field_name}' is not a file", param=field_name)
        if len(self.parts) >= self._max_files:
            raise Refusal(413, "too_many_files", f"{self._max_files} files at once are the most")
        name = upload_name(given.decode("utf-8", errors="replace"))
        descriptor, temporary = tempfile.mkstemp(prefix=_HALF, dir=self._folder)
        self.parts.append(_Part(name, Path(temporary), os.fdopen(descriptor, "wb")))

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self.parts[-1]
        part.size += end - start
        if part.size > self._max_bytes:
            raise Refusal(413, "file_too_large", f"{part.name} is larger than {self._max_bytes:,} bytes")
        part.stream.write(memoryview(data)[start:end])

    def on_part_end(self) -> None:
        stream = self.parts[-1].stream
        stream.flush()
        os.fsync(stream.fileno())
        stream.close()

    def on_end(self) -> None:
        self.is_whole = True

    def discard(self) -> None:
        for part in self.parts:
            part.stream.close()
            with contextlib.suppress(FileNotFoundError):
                part.temporary.unlink()


def clear_halves(folder: Path) -> None:
    """Remove what a killed server left of uploads that were not whole."""
    for half in folder.glob(f"{_HALF}*"):
        half.unlink()


async def receive_files(request: Request, folder: Path, *, max_files: int, max_bytes: int) -> Uploaded:
    """Write every file of a multipart request, so many of so many bytes each, into `folder`.

    A name is reduced to its safe last component; a file of that name is replaced. Nothing stays when
    any part is refused; a file of a kind that is not read costs itself alone, unless there is no other.

    Raises:
        Refusal: it is not multipart, a file is too large, none is of a kind that is read, nothing was sent,
            it came too slowly, or the disk is full.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise Refusal(415, "not_multipart", "send files as multipart/form-data, for example curl -F file=@…")
    receiver = _Receiver(folder, max_files, max_bytes)
    names = ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end")
    events = (*names, "headers_finished", "end")
    try:
        parser = MultipartParser(
            boundary,
            {f"on_{event}": getattr(receiver, f"on_{event}") for event in events},  # type: ignore[arg-type]
        )
        # The disk is waited for in a thread: meanwhile others are answered.
        await asyncio.to_thread(private_folder, folder)
        async for data in request.stream():
            await asyncio.to_thread(parser.write, data)
        await asyncio.to_thread(parser.finalize)
        if not receiver.is_whole:
            raise Refusal(400, "invalid_multipart", "the upload ended before its last part was whole")
        return await asyncio.to_thread(_take_over, receiver.parts, folder)
    except FormParserError as error:
        raise Refusal(400, "invalid_multipart", f"the upload is not proper multipart: {error}") from error
    except InputError as error:
        raise Refusal(400, "invalid_name", str(error)) from error
    except ClientDisconnect as error:
        raise Refusal(400, "client_left", "the client left in the middle of the upload") from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        what = "the server's disk is full" if full else f"the file could not be kept: {error.strerror}"
        raise Refusal(507, "disk_full" if full else "disk_error", f"{what}; nothing was kept") from error
    finally:
        receiver.discard()


def _take_over(parts: list[_Part], folder: Path) -> Uploaded:
    """Put whole files in their place.

    Raises:
        Refusal: there is none that is read.
    """
    if not parts:
        raise Refusal(400, "no_file", "the upload holds no file")
    skipped = {part.name: one_line(kind_of(part.temporary, part.name)) for part in parts if not part.is_read}
    if len(skipped) == len({part.name for part in parts}):
        said = ", ".join(f"{name} ({kind})" for name, kind in skipped.items())
        message = f"no text is read of {said}. Kinds that are read: {', '.join(LOADERS)}"
        raise Refusal(415, "unsupported_kind", message)
    found: dict[Path, None] = {}
    for part in parts:
        if part.is_read:
            os.replace(part.temporary, folder / part.name)
            found[folder / part.name] = None
    return Uploaded(list(found), skipped)
