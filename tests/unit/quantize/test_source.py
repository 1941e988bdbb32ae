from __future__ import annotations

import os
from pathlib import Path

import pytest

from quantserve.core.errors import InputError
from quantserve.quantize.models.download import fetch
from quantserve.quantize.models.source import content_hash, is_whole, read_source, write_source
from tests.unit.quantize.checkpoints import make_checkpoint


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "model")


def test_the_hash_follows_names_and_bytes(checkpoint: Path, tmp_path: Path) -> None:
    before = content_hash(checkpoint, tmp_path / "run")
    assert content_hash(checkpoint, tmp_path / "run") == before
    (checkpoint / "README.md").write_text("documents do not count")
    assert content_hash(checkpoint, tmp_path / "run") == before
    (checkpoint / "tokenizer.json").write_text("{ }")
    assert content_hash(checkpoint, tmp_path / "run") != before


def test_a_file_changed_in_place_is_hashed_again(checkpoint: Path, tmp_path: Path) -> None:
    before = content_hash(checkpoint, tmp_path / "run")
    config = checkpoint / "config.json"
    stamp = config.stat().st_mtime_ns
    config.write_text(config.read_text().replace("64", "32"))
    os.utime(config, ns=(stamp + 1, stamp + 1))
    assert content_hash(checkpoint, tmp_path / "run") != before


def test_a_damaged_hash_cache_is_made_anew(checkpoint: Path, tmp_path: Path) -> None:
    before = content_hash(checkpoint, tmp_path / "run")
    (tmp_path / "run" / "file-hashes.json").write_text("{")
    assert content_hash(checkpoint, tmp_path / "run") == before


def test_whole_means_every_listed_file_has_its_size(checkpoint: Path) -> None:
    assert not is_whole(checkpoint)
    write_source(checkpoint, id="test")
    assert is_whole(checkpoint)
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert not is_whole(checkpoint)


@pytest.mark.parametrize("data", [b"[" * 100_000, b"{", b"[]", b"\xff"])
def test_a_source_file_that_is_none_says_nothing(checkpoint: Path, data: bytes) -> None:
    (checkpoint / "source.json").write_bytes(data)
    assert read_source(checkpoint) == {}


def test_a_directory_is_used_in_place(checkpoint: Path, tmp_path: Path) -> None:
    assert fetch(str(checkpoint), tmp_path / "models", tmp_path / "run").directory == checkpoint


def test_what_is_neither_directory_nor_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a directory, nor a hub id"):
        fetch("no such thing", tmp_path / "models", tmp_path / "run")


def test_a_path_under_models_is_never_taken_for_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="neither a directory"):
        fetch("models/absent", Path("models"), tmp_path / "run")
