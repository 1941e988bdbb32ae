"""Whatever a folder holds is in the index or is named with the reason; what was indexed is not forgotten."""

from __future__ import annotations

import ctypes
import functools
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from quantserve.core.console import console
from quantserve.core.errors import InputError
from quantserve.rag.commands.index import index
from quantserve.rag.config import RagConfig
from quantserve.rag.ingest import IndexReport, index_paths
from quantserve.rag.ingest.report import passed_over
from quantserve.rag.store.base import open_store
from tests.integration.rag.fake_model import HashEmbedder, fake_model


@pytest.fixture
def light(tmp_path: Path) -> RagConfig:
    return RagConfig(index_dir=tmp_path / "index", store="faiss", embedding=fake_model(tmp_path / "model"))


def indexed(light: RagConfig, *paths: Path) -> IndexReport:
    return index_paths(list(paths), light, load_model=HashEmbedder)


NAMES = (
    b"caf\xe9.txt",
    b"\xc7\xd1\xb1\xdb.md",
    b"two\nlines.txt",
    b"\x1b[31mred.txt",
    b"tab\tand\rreturn.md",
    "\u202etxt.md".encode(),
    b"back\\slash.txt",
    b"[bold]x[link].txt",
    "이름.txt".encode(),
    b"x" * 251 + b".txt",
)


def test_any_name_is_indexed_under_a_printable_one(light: RagConfig, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    (folder / os.fsdecode(b"d\xff\xfer")).mkdir(parents=True)
    for number, name in enumerate(NAMES):
        Path(os.fsdecode(os.fsencode(folder) + b"/d\xff\xfer/" + name)).write_text(f"Document {number}.")
    report = indexed(light, folder)
    assert (report.files, report.problems, report.skipped) == (len(NAMES), {}, {})
    files = [chunk.file for _, chunk in open_store(light).open().chunks.all()]
    assert all(file.isprintable() for file in files)
    assert len(set(files)) == len(NAMES)
    assert indexed(light, folder).unchanged
    gone = next(
        path for path in (folder / os.fsdecode(b"d\xff\xfer")).iterdir() if b"\xe9" in os.fsencode(path)
    )
    gone.unlink()
    assert [Path(name).name for name in indexed(light).removed] == ["caf\\udce9.txt"]


def test_a_root_that_is_no_text_is_known_again(light: RagConfig, tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"r\xe9gl.txt")
    root.write_text("The horn sounds twice.")
    indexed(light, root)
    root.write_text("The horn sounds thrice.")
    assert [Path(name).name for name in indexed(light).changed] == ["r\\udce9gl.txt"]


def test_what_no_loader_reads_is_listed_with_its_format(light: RagConfig, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "a.txt").write_text("hi there")
    for name in ("x.epub", "y.odt", "z.pptx", "w.xlsx", "v.hwp", "u.json"):
        (folder / name).write_bytes(b"PK")
    report = indexed(light, folder)
    assert {Path(name).name: kind for name, kind in report.skipped.items()} == {
        "u.json": "JSON file",
        "v.hwp": "HWP document",
        "w.xlsx": "XLSX spreadsheet",
        "x.epub": "EPUB e-book",
        "y.odt": "ODT document",
        "z.pptx": "PPTX presentation",
    }
    again = indexed(light, folder)
    assert again.unchanged
    assert again.skipped == report.skipped


def test_a_folder_with_nothing_to_read_says_what_is_in_it(light: RagConfig, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "x.epub").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"passed over: 1 × EPUB e-book: .*x\.epub"):
        indexed(light, folder)


def test_many_of_a_kind_are_one_line() -> None:
    skipped = {f"{number}.png": "PNG image" for number in range(7)} | {"a.epub": "EPUB e-book"}
    assert passed_over(skipped) == [
        "7 × PNG image: 0.png, 1.png, 2.png, 3.png, 4.png and 2 more",
        "1 × EPUB e-book: a.epub",
    ]


def test_the_command_lists_it_for_people_and_programs(
    tmp_path: Path, light: RagConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "a.txt").write_text("hi there")
    (folder / "x.epub").write_bytes(b"PK")
    monkeypatch.setattr(
        "quantserve.rag.ingest.index_paths", functools.partial(index_paths, load_model=HashEmbedder)
    )
    model, backend = light.embedding.model, light.embedding.backend
    with console.capture() as shown:
        index(
            [str(folder)], index_dir=light.index_dir, embedding_model=model, backend=backend, json_output=True
        )
    assert f"not read: 1 × EPUB e-book: {folder / 'x.epub'}" in shown.get()
    found = json.loads(capsys.readouterr().out)
    assert found["skipped"] == {str(folder / "x.epub"): "EPUB e-book"}


_CAPABILITIES = 0x20080522
"""Version of the kernel's structures (capget(2))."""
_OVERRIDES = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: by them root may read everything."""


@contextmanager
def bound_by_modes() -> Iterator[None]:
    """Let the files' modes bind this thread, as root too."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = (ctypes.c_uint32 * 2)(_CAPABILITIES, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, data) == 0
    effective = data[0]
    data[0] = effective & ~_OVERRIDES
    assert libc.capset(header, data) == 0
    try:
        yield
    finally:
        data[0] = effective
        assert libc.capset(header, data) == 0


def run_index(paths: list[Path], light: RagConfig) -> IndexReport:
    """Index as somebody who may read what the files' modes say."""
    with bound_by_modes():
        return indexed(light, *paths)


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """Four documents, two of them in a folder of their own."""
    folder = tmp_path / "documents"
    (folder / "closed").mkdir(parents=True)
    (folder / "open.txt").write_text("The lamp is lit at sunset.")
    (folder / "secret.txt").write_text("The safe is behind the picture.")
    (folder / "closed" / "inner.txt").write_text("Spare bulbs are in the cellar.")
    (folder / "closed" / "other.txt").write_text("The horn sounds twice.")
    return folder


def names_in(light: RagConfig) -> set[str]:
    return {Path(chunk.file).name for _, chunk in open_store(light).open().chunks.all()}


ALL = {"open.txt", "secret.txt", "inner.txt", "other.txt"}


def test_a_folder_that_cannot_be_looked_into_keeps_its_documents(light: RagConfig, documents: Path) -> None:
    run_index([documents], light)
    assert names_in(light) == ALL
    (documents / "closed").chmod(0)
    report = run_index([documents], light)
    assert names_in(light) == ALL
    assert report.removed == ()
    (problem,) = report.problems.values()
    assert problem.startswith(f"{documents / 'closed'}: Permission denied; the 2 documents")
    stale = "inner.txt: Permission denied; what was indexed of it before stays"
    assert report.warnings[str(documents / "closed" / "inner.txt")] == (stale,)
    again = run_index([documents], light)
    assert (again.unchanged, again.problems) == (True, report.problems)

    (documents / "closed").chmod(0o755)
    report = run_index([documents], light)
    assert (report.warnings, report.problems, report.embedded) == ({}, {}, 0)


def test_a_file_that_may_not_be_read_keeps_its_passages(light: RagConfig, documents: Path) -> None:
    run_index([documents], light)
    (documents / "secret.txt").chmod(0)
    report = run_index([documents], light)
    assert names_in(light) == ALL
    assert list(report.warnings) == [str(documents / "secret.txt")]


def test_a_root_that_cannot_be_reached_is_not_gone(light: RagConfig, documents: Path) -> None:
    run_index([documents / "closed" / "inner.txt", documents / "open.txt"], light)
    (documents / "closed").chmod(0)
    report = run_index([documents / "open.txt"], light)
    assert names_in(light) == {"inner.txt", "open.txt"}
    assert report.removed == ()


def test_a_new_file_that_may_not_be_read_is_named(light: RagConfig, documents: Path) -> None:
    (documents / "secret.txt").chmod(0)
    report = run_index([documents], light)
    assert names_in(light) == ALL - {"secret.txt"}
    assert "secret.txt: Permission denied" in report.problems[str(documents / "secret.txt")]


def test_what_is_really_gone_leaves(light: RagConfig, documents: Path) -> None:
    run_index([documents], light)
    shutil.rmtree(documents / "closed")
    report = run_index([documents], light)
    assert names_in(light) == {"open.txt", "secret.txt"}
    assert len(report.removed) == 2
