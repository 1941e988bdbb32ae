"""What a file is, for people: by its content where that tells, else by its suffix.

Said of every file that no loader reads, so that nothing is left out of an index in silence. Content comes
first, since a suffix is only a claim: a ZIP says inside which office format it is, an OLE file (Word, Excel,
PowerPoint before 2007, HWP) by its streams, and `filetype` knows the marks of some eighty formats.
"""

from __future__ import annotations

import mimetypes
import os
import stat
import zipfile
import zlib
from pathlib import Path

_HEAD_BYTES = 8192
_MOST_ENTRIES = 2000
"""Parts of a ZIP whose names are looked at."""
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_BYTES = 1 << 20
_LONGEST_SUFFIX = 20
_OLE_STREAMS = (
    ("EncryptedPackage", "office document locked by a password"),
    ("HwpSummaryInformation", "HWP document"),
    ("WordDocument", "DOC document"),
    ("PowerPoint Document", "PPT presentation"),
    ("Workbook", "XLS spreadsheet"),
    ("Book", "XLS spreadsheet"),
    ("__substg1.0_", "MSG mail"),
)
_ZIP_FOLDERS = (
    ("word/", "DOCX document"),
    ("xl/", "XLSX spreadsheet"),
    ("ppt/", "PPTX presentation"),
    ("Contents/section", "HWPX document"),
)
_ZIP_TYPES = {
    "application/epub+zip": "EPUB e-book",
    "application/vnd.oasis.opendocument.text": "ODT document",
    "application/vnd.oasis.opendocument.spreadsheet": "ODS spreadsheet",
    "application/vnd.oasis.opendocument.presentation": "ODP presentation",
    "application/hwp+zip": "HWPX document",
}
_SUFFIXES = {
    ".azw3": "AZW3 e-book",
    ".doc": "DOC document",
    ".docx": "DOCX document",
    ".epub": "EPUB e-book",
    ".hwp": "HWP document",
    ".hwpx": "HWPX document",
    ".key": "KEY file",
    ".mobi": "MOBI e-book",
    ".odp": "ODP presentation",
    ".ods": "ODS spreadsheet",
    ".odt": "ODT document",
    ".pages": "PAGES document",
    ".ppt": "PPT presentation",
    ".pptx": "PPTX presentation",
    ".rtf": "RTF document",
    ".xls": "XLS spreadsheet",
    ".xlsx": "XLSX spreadsheet",
}
"""Documents whose format's name says more with a word beside it; any other suffix names itself."""
_MEDIA = {"image": "image", "audio": "audio", "video": "video", "font": "font"}
_SPECIAL = (
    (stat.S_ISDIR, "folder"),
    (stat.S_ISFIFO, "named pipe"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "character device"),
    (stat.S_ISBLK, "block device"),
)


def special_kind(mode: int) -> str:
    """Return what a thing that is no plain file is, by its mode; empty for a plain file."""
    return next(
        (name for is_so, name in _SPECIAL if is_so(mode)), "" if stat.S_ISREG(mode) else "special file"
    )


def kind_of(path: Path, name: str = "") -> str:
    """Return a file's format, such as "EPUB e-book", "PNG image"; `name` where it is not the path's.

    Raises:
        OSError: it cannot be read.
    """
    claimed = Path(name) if name else path
    # A pipe put in a file's place meanwhile must not hold the run up.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if special := special_kind(os.fstat(descriptor).st_mode):
            return special
        head = stream.read(_HEAD_BYTES)
        if head.startswith(_OLE):
            return _ole_kind(head + stream.read(_OLE_BYTES - len(head)), claimed)
    if not head:
        return "empty file"
    return (
        (_zip_kind(path) if head.startswith(b"PK\3\4") else "") or _by_marks(head) or by_suffix(claimed, head)
    )


def by_suffix(path: Path, head: bytes = b"") -> str:
    """Return what a name claims; without a suffix, whether the content is text."""
    suffix = path.suffix.lower()
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    if len(suffix) > 1:
        kind = (mimetypes.guess_type(f"x{suffix}")[0] or "").partition("/")[0] if b"\0" in head else ""
        return f"{suffix[1:_LONGEST_SUFFIX].upper()} {_MEDIA.get(kind, 'file')}"
    return "binary file without a suffix" if b"\0" in head else "text file without a suffix"


def _by_marks(head: bytes) -> str:
    import filetype

    found = filetype.guess(head)
    if found is None:
        return "RTF document" if head.startswith(b"{\\rtf") else ""
    media = _MEDIA.get(found.mime.partition("/")[0], "")
    name = found.extension.upper()
    if media:
        return f"{name} {media}"
    return _SUFFIXES.get(f".{found.extension}", f"{name} {'archive' if _is_archive(found.mime) else 'file'}")


def _is_archive(mime: str) -> bool:
    return any(
        word in mime for word in ("zip", "tar", "compress", "rar", "7z", "xz", "lzip", "zstd", "archive")
    )


def _zip_kind(path: Path) -> str:
    """Return which office format or e-book a ZIP is; empty for any other, and for one that is broken."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [entry.filename for entry in archive.infolist()[:_MOST_ENTRIES]]
            if "mimetype" in names and archive.getinfo("mimetype").file_size < 256:
                declared = archive.read("mimetype").decode("ascii", errors="replace").strip()
                if declared in _ZIP_TYPES:
                    return _ZIP_TYPES[declared]
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, zlib.error):
        return ""
    return next(
        (kind for folder, kind in _ZIP_FOLDERS if any(name.startswith(folder) for name in names)),
        "ZIP archive",
    )


def _ole_kind(head: bytes, path: Path) -> str:
    """Return what an OLE file is by the names of its streams, which its directory has in UTF-16."""
    for name, kind in _OLE_STREAMS:
        if name.encode("utf-16-le") in head:
            return kind
    return by_suffix(path) if path.suffix.lower() in _SUFFIXES else "OLE document"
