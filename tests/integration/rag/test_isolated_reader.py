"""A file that needs too much, takes too long or crashes its parser costs itself, and no other file."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from quantserve.rag.config import RagConfig, ReadConfig
from quantserve.rag.errors import UnreadableDocument
from quantserve.rag.ingest import index_paths
from quantserve.rag.loaders.isolated import IsolatedReader
from tests.integration.rag.fake_model import HashEmbedder, fake_model


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.txt"
    path.write_text("The lamp is lit at sunset.")
    return path


@pytest.fixture
def greedy(tmp_path: Path) -> Path:
    """A page whose tree takes some hundred MiB."""
    path = tmp_path / "greedy.html"
    path.write_text("<p>a<b>b</b>" * 200_000)
    return path


def texts(reader: IsolatedReader, path: Path) -> list[str]:
    return [section.text for section in reader.read(path, lambda _: None)]


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        (ReadConfig(memory_bytes=96 << 20), "96 MiB of memory"),
        (ReadConfig(cpu_s=0.3, cpu_s_per_mib=0), "0 s of processor time"),
    ],
    ids=["memory", "time"],
)
def test_a_file_beyond_a_limit_is_named_and_the_next_is_read(
    config: ReadConfig, limit: str, greedy: Path, good: Path
) -> None:
    with IsolatedReader(config) as reader:
        with pytest.raises(UnreadableDocument, match=f"greedy.html: reading it takes more than {limit}"):
            texts(reader, greedy)
        reader._config = ReadConfig()
        assert texts(reader, good) == ["The lamp is lit at sunset."]


def test_a_reader_that_only_waits_is_ended(tmp_path: Path, good: Path) -> None:
    """Stopped, it takes neither memory nor processor time, as one that waits for a dead disk."""
    rows = tmp_path / "rows.csv"
    rows.write_text("a,b\n" + "1,2\n" * 400_000)
    with IsolatedReader(ReadConfig(cpu_s=60, cpu_s_per_mib=0, wall_factor=0.05)) as reader:
        sections = reader.read(rows, lambda _: None)
        next(sections)
        assert reader._process is not None
        reader._process.send_signal(signal.SIGSTOP)
        with pytest.raises(UnreadableDocument, match=r"rows\.csv: reading it takes more than 3 s\."):
            list(sections)
        reader._config = ReadConfig()
        assert texts(reader, good) == ["The lamp is lit at sunset."]


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_costs_one_file(how: signal.Signals, tmp_path: Path, good: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("a,b\n" + "1,2\n" * 400_000)
    with IsolatedReader() as reader:
        sections = reader.read(rows, lambda _: None)
        next(sections)
        assert reader._process is not None
        os.kill(reader._process.pid, how)
        with pytest.raises(UnreadableDocument, match=rf"rows.csv: its parser crashed \({how.name}\)"):
            list(sections)
        assert texts(reader, good) == ["The lamp is lit at sunset."]


def test_a_reader_that_died_between_two_files_is_replaced(good: Path) -> None:
    with IsolatedReader() as reader:
        assert texts(reader, good)
        assert reader._process is not None
        reader._process.kill()
        reader._process.wait()
        assert texts(reader, good)


def test_an_abandoned_file_does_not_mix_with_the_next(tmp_path: Path, good: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("a,b\n" + "1,2\n" * 100_000)
    with IsolatedReader() as reader:
        sections = reader.read(rows, lambda _: None)
        next(sections)
        assert isinstance(sections, Iterator)
        sections.close()  # type: ignore[attr-defined]
        assert texts(reader, good) == ["The lamp is lit at sunset."]


def test_long_sections_come_in_parts_that_are_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "long.md"
    text = " ".join(f"word{number}" for number in range(40_000))
    path.write_text(text)
    with IsolatedReader() as reader:
        parts = list(reader.read(path, lambda _: None))
    assert max(len(part.text) for part in parts) <= 64 << 10
    assert "".join(part.text for part in parts) == text
    assert all(text[part.start : part.start + len(part.text)] == part.text for part in parts)


def test_text_that_no_database_takes_is_made_storable(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"title": "t\ud800", "text": "lone \udfff and NUL \0 end"}) + "\n")
    with IsolatedReader() as reader:
        (section,) = reader.read(path, lambda _: None)
    assert (section.heading, section.text) == ("t\ufffd", "lone \ufffd and NUL \ufffd end")


def test_an_index_run_loses_only_the_file(tmp_path: Path, good: Path, greedy: Path) -> None:
    config = RagConfig(
        index_dir=tmp_path / "index",
        store="faiss",
        embedding=fake_model(tmp_path / "model"),
        read=ReadConfig(memory_bytes=96 << 20),
    )
    report = index_paths([good, greedy], config, load_model=HashEmbedder)
    assert report.files == 1
    assert report.problems[str(greedy)].startswith("greedy.html: reading it takes more than 96 MiB")
    assert report.added == (str(good),)


def test_splitting_has_a_limit_too(tmp_path: Path, good: Path) -> None:
    long = tmp_path / "long.txt"
    long.write_text("word. " * 100_000)
    config = RagConfig(
        index_dir=tmp_path / "index",
        store="faiss",
        embedding=fake_model(tmp_path / "model"),
        read=ReadConfig(splitting_factor=0.0001),
    )
    report = index_paths([good, long], config, load_model=HashEmbedder)
    assert "long.txt: splitting it takes more than" in report.problems[str(long)]
    assert report.files == 1
