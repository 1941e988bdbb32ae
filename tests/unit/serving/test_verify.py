from __future__ import annotations

import os
from pathlib import Path

import pytest

from quantserve.quantize.artifact import ArtifactError, read_manifest
from quantserve.serving.verify import verify
from tests.unit.serving.test_target import write_artifact

FILES = {"config.json", "model.safetensors", "tokenizer.json"}


def check(directory: Path, *, full: bool = False) -> set[str]:
    stamps = directory.parents[1] / "verified.json"
    return set(verify(directory, read_manifest(directory), stamps, full=full))


def swap_last_byte(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


def test_files_are_hashed_once_and_then_trusted_by_size_and_times(tmp_path: Path) -> None:
    directory = write_artifact(tmp_path / "Small")
    assert check(directory) == FILES
    assert check(directory) == set()
    assert check(directory, full=True) == FILES


def test_touched_file_alone_is_hashed_again(tmp_path: Path) -> None:
    directory = write_artifact(tmp_path / "Small")
    check(directory)
    (directory / "config.json").touch()
    assert check(directory) == {"config.json"}


def test_changed_byte_is_found_although_the_modification_time_was_set_back(tmp_path: Path) -> None:
    directory = write_artifact(tmp_path / "Small")
    check(directory)
    weights = directory / "model.safetensors"
    before = weights.stat()
    swap_last_byte(weights)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ArtifactError, match=r"model\.safetensors was changed"):
        check(directory)


def test_another_manifest_trusts_nothing(tmp_path: Path) -> None:
    directory = write_artifact(tmp_path / "Small")
    check(directory)
    manifest = directory / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"key": "k"', '"key": "l"'))
    assert check(directory) == FILES


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"x": 1}'])
def test_damaged_stamps_trust_nothing(tmp_path: Path, content: str) -> None:
    directory = write_artifact(tmp_path / "Small")
    (tmp_path / "verified.json").write_text(content)
    assert check(directory) == FILES


@pytest.mark.parametrize("name", ["extra.safetensors", "chat_template.jinja", "modeling.py"])
def test_file_that_engines_read_and_no_manifest_knows_is_refused(tmp_path: Path, name: str) -> None:
    directory = write_artifact(tmp_path / "Small")
    (directory / "README.md").write_text("notes are fine")
    (directory / name).write_text("x")
    with pytest.raises(ArtifactError, match="not in the manifest"):
        check(directory)
