"""What is passed over is named: by content where that tells, else by suffix."""

from __future__ import annotations

import os
import socket
import zipfile
from pathlib import Path

import pytest

from quantserve.rag.loaders.kinds import kind_of
from quantserve.rag.loaders.walk import walk

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("u.json", b'{"a":1}', "JSON file"),
        ("v.hwp", b"x", "HWP document"),
        ("w.xlsx", b"PK", "XLSX spreadsheet"),
        ("y.odt", b"PK", "ODT document"),
        ("z.pptx", b"PK", "PPTX presentation"),
        ("b.epub", b"PK", "EPUB e-book"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(20), "PNG image"),
        ("wrong.dat", b"\xff\xd8\xff\xe0" + bytes(20), "JPG image"),
        ("a.rtf", b"{\\rtf1 x}", "RTF document"),
        ("a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(20), "7Z archive"),
        ("a.xml", b"<?xml version='1.0'?><a/>", "XML file"),
        ("Makefile", b"all:\n", "text file without a suffix"),
        ("core", b"\0\1\2", "binary file without a suffix"),
        ("a.doc", OLE + "WordDocument".encode("utf-16-le"), "DOC document"),
        ("a.hwp", OLE + "HwpSummaryInformation".encode("utf-16-le"), "HWP document"),
        ("locked.xlsx", OLE + "EncryptedPackage".encode("utf-16-le"), "office document locked by a password"),
        ("other", OLE, "OLE document"),
        ("none.log", b"", "empty file"),
        ("a." + "x" * 100, b"x", f"{'X' * 19} file"),
    ],
)
def test_a_files_format(name: str, data: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    assert kind_of(tmp_path / name) == kind


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ({"mimetype": "application/epub+zip"}, "EPUB e-book"),
        ({"mimetype": "application/vnd.oasis.opendocument.text"}, "ODT document"),
        ({"mimetype": "application/hwp+zip"}, "HWPX document"),
        ({"word/document.xml": ""}, "DOCX document"),
        ({"xl/workbook.xml": ""}, "XLSX spreadsheet"),
        ({"ppt/presentation.xml": ""}, "PPTX presentation"),
        ({"a/b.txt": ""}, "ZIP archive"),
    ],
)
def test_what_a_zip_holds_says_what_it_is(parts: dict[str, str], kind: str, tmp_path: Path) -> None:
    path = tmp_path / "no-suffix"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    assert kind_of(path) == kind


def test_everything_in_a_folder_is_a_file_to_read_or_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    (folder / ".git").mkdir(parents=True)
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "a.txt").write_text("x")
    (folder / "deep" / "er" / "b.MD").write_text("x")
    (folder / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    (tmp_path / "outside.txt").write_text("x")
    os.mkfifo(folder / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "sock.txt"))
    (folder / "gone.txt").symlink_to("nothing")
    (folder / "loop.txt").symlink_to("loop.txt")
    (folder / "out.txt").symlink_to(tmp_path / "outside.txt")
    (folder / "in.txt").symlink_to("a.txt")
    (folder / "up").symlink_to("..")
    (folder / "null.txt").symlink_to("/dev/null")
    found = walk(folder)
    assert [str(path.relative_to(folder)) for path in found.files] == ["a.txt", "deep/er/b.MD", "in.txt"]
    assert {path.name: kind for path, kind in found.skipped.items()} == {
        ".git": "hidden",
        "c.png": "PNG image",
        "null.txt": "link out of the folder",
        "out.txt": "link out of the folder",
        "pipe.txt": "named pipe",
        "sock.txt": "socket",
        "up": "link out of the folder",
    }
    assert {path.name: reason for path, reason in found.unreadable.items()} == {
        "gone.txt": "is a link to nothing (No such file or directory)",
        "loop.txt": "is a link to nothing (Too many levels of symbolic links)",
    }


def test_a_named_pipe_that_is_named_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    found = walk(tmp_path / "pipe.txt")
    assert list(found.unreadable.values()) == ["is a named pipe, not a file"]
