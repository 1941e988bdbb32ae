"""Files that are broken, hostile or huge, through the whole of indexing."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from quantserve.core.errors import InputError
from quantserve.rag.config import RagConfig
from quantserve.rag.ingest import index_paths
from quantserve.rag.ingest.names import upload_name
from quantserve.rag.store.base import open_store
from tests.integration.rag.conftest import ROOT, write_pdf
from tests.integration.rag.fake_model import HashEmbedder, fake_model


@pytest.fixture
def light(tmp_path: Path) -> RagConfig:
    return RagConfig(index_dir=tmp_path / "index", store="faiss", embedding=fake_model(tmp_path / "model"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "documents"
    made.mkdir()
    (made / "good.txt").write_text("The lamp is lit at sunset.")
    return made


def zip_bomb(path: Path) -> None:
    """A DOCX of 1 MB whose one part unpacks to a gigabyte."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        with archive.open("word/document.xml", "w", force_zip64=True) as part:
            for _ in range(1024):
                part.write(b"A" * (1 << 20))


def test_every_bad_file_is_named_and_stops_nothing(light: RagConfig, folder: Path) -> None:
    zip_bomb(folder / "bomb.docx")
    write_pdf(folder / "cut.pdf", ["A page about the harbour."])
    whole = (folder / "cut.pdf").read_bytes()
    (folder / "cut.pdf").write_bytes(whole[: len(whole) // 3])
    (folder / "noise.pdf").write_bytes(b"%PDF-1.7\n" + bytes(range(256)) * 40)
    (folder / "no.docx").write_bytes(b"PK\3\4 and then nothing")
    (folder / "quotes.csv").write_text('a,b\n"never closed' + "x" * 200_000)
    (folder / "rows.jsonl").write_text('{"title": "t", "context": "c"}\n{broken\n')
    report = index_paths([folder], light, load_model=HashEmbedder)
    said = {Path(file).name: problem for file, problem in report.problems.items()}
    assert "good.txt" not in said
    assert {"bomb.docx", "cut.pdf", "noise.pdf", "no.docx", "quotes.csv"} <= set(said)
    assert "zip bomb" in said["bomb.docx"]
    assert all(name in problem for name, problem in said.items())
    files = {chunk.file for _, chunk in open_store(light).open().chunks.all()}
    assert not any(Path(file).name in said for file in files)


_INDEX_CSV = """
import json, re, sys
from pathlib import Path
from quantserve.rag.config import RagConfig, SplitConfig
from quantserve.rag.ingest import index_paths
from tests.integration.rag.fake_model import HashEmbedder, fake_model

root = Path(sys.argv[1])
config = RagConfig(
    index_dir=root / "index", store="faiss", embedding=fake_model(root / "model"),
    split=SplitConfig("characters", chunk_characters=100_000, overlap_characters=0),
)
report = index_paths([root / "huge.csv"], config, load_model=HashEmbedder)
# Not ru_maxrss, which a child inherits from whoever forked it.
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps({"chunks": report.chunks, "peak_mib": peak, "problems": report.problems}))
"""


def index_csv(root: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _INDEX_CSV, str(root)],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def write_csv(path: Path, megabytes: int) -> None:
    """Few long rows: words are analysed one row at a time, and it is the bytes that must not pile up."""
    cell = ("-" * 99 + " ") * 100
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["number", "note", "remark"])
        for number in range(megabytes * 1_000_000 // (2 * len(cell))):
            rows.writerow([number, cell, cell])


def test_a_csv_of_200_mb_is_indexed_in_bounded_memory(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    write_csv(tmp_path / "small" / "huge.csv", 20)
    write_csv(tmp_path / "huge.csv", 200)
    assert (tmp_path / "huge.csv").stat().st_size > 190_000_000
    small, huge = index_csv(tmp_path / "small"), index_csv(tmp_path)
    assert huge["problems"] == {}
    assert huge["chunks"] > 8 * small["chunks"]
    # Ten times the file may not take ten times the memory: the words' numbers grow, the text does not.
    assert huge["peak_mib"] < 600, (small, huge)
    assert huge["peak_mib"] < small["peak_mib"] + 300, (small, huge)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("../../etc/passwd.txt", "passwd.txt"),
        ("..\\..\\boot.txt", "boot.txt"),
        ("/etc/x.md", "x.md"),
        ("a\0b?.csv", "a_b_.csv"),
        ("휴가 규정.md", "휴가 규정.md"),
        (".hidden.txt", "hidden.txt"),
    ],
)
def test_an_uploads_name_cannot_leave_its_folder(given: str, name: str) -> None:
    assert upload_name(given) == name


@pytest.mark.parametrize("given", ["", "..", "../", "...", "a/" + "x" * 300])
def test_a_name_of_which_nothing_is_left_is_refused(given: str) -> None:
    with pytest.raises(InputError, match="file's name"):
        upload_name(given)


def test_a_path_with_dots_and_a_name_of_dots_are_one_document_each(light: RagConfig, folder: Path) -> None:
    (folder / "..notes.txt").write_text("hidden by its first dot")
    (folder / "a..b.txt").write_text("A second lamp stands in the tower.")
    (folder / "deep").mkdir()
    report = index_paths([folder / "deep" / ".." / "good.txt", folder], light, load_model=HashEmbedder)
    assert (report.files, report.problems) == (2, {})
    keys = open_store(light).open().manifest.files
    assert set(keys) == {str(folder / "good.txt"), str(folder / "a..b.txt")}
