"""A zip file's size when unpacked, known before anything is unpacked."""

from __future__ import annotations

import zipfile
from pathlib import Path

from quantserve.rag.errors import UnreadableDocument

MAX_UNPACKED_BYTES = 256 << 20
MAX_RATIO = 200
MAX_ENTRIES = 10_000
_RATIO_FROM_BYTES = 8 << 20
"""Small parts may be packed as tightly as they like."""


def check_archive(path: Path, kind: str) -> None:
    """Refuse a zip bomb. The sizes a zip declares bind its reader: Python stops there, whatever follows.

    Raises:
        UnreadableDocument: it is no zip, or would unpack to too much.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise UnreadableDocument(
            f"{path.name}: is not a readable {kind}", mend="Open and save it again in its program"
        ) from error
    unpacked_bytes = sum(entry.file_size for entry in entries)
    tight = any(
        entry.file_size > _RATIO_FROM_BYTES and entry.file_size > MAX_RATIO * max(1, entry.compress_size)
        for entry in entries
    )
    if unpacked_bytes > MAX_UNPACKED_BYTES or tight or len(entries) > MAX_ENTRIES:
        raise UnreadableDocument(
            f"{path.name}: would unpack to {unpacked_bytes / 1e6:,.0f} MB in {len(entries):,} parts, "
            "like a zip bomb",
            mend=f"Split it, or give a {kind} of at most {MAX_UNPACKED_BYTES / 1e6:,.0f} MB unpacked, "
            f"{MAX_ENTRIES:,} parts and {MAX_RATIO} bytes from each packed one",
        )
