"""diff, verify, gc and export on small artifacts."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from quantserve.core.errors import InputError, UsageError
from quantserve.core.files import Locked, exclusive_lock
from quantserve.quantize.artifact import (
    ArtifactError,
    check_files,
    file_records,
    promote,
    read_manifest,
    read_report,
)
from quantserve.quantize.lifecycle.comparison import Row, compare
from quantserve.quantize.lifecycle.export import export
from quantserve.quantize.lifecycle.gc import collect
from quantserve.quantize.lifecycle.places import find_artifacts, problems
from tests.unit.quantize.made import make_artifact


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


def compared(a: Path, b: Path) -> list[Row]:
    return compare(read_manifest(a), read_manifest(b), read_report(a), read_report(b))


def test_diff_sets_parameters_figures_and_sizes_side_by_side(artifacts: Path) -> None:
    a = make_artifact(artifacts, "v1", figures={"perplexity_ratio": {"value": 1.2, "low": 1.1}})
    b = make_artifact(
        artifacts,
        "v2",
        method="awq",
        parameters={"group_size": 64, "mse": 2.0},
        figures={"perplexity_ratio": {"value": 1.1, "low": 1.1}},
        verdict="REGRESSION",
    )
    differences = [(row.section, row.name, row.a, row.b) for row in compared(a, b) if not row.same]
    assert differences == [
        ("origin", "method", "gptq", "awq"),
        ("parameter", "group_size", 32, 64),
        ("parameter", "mse", None, 2.0),
        ("figure", "verdict", "ACCEPT", "REGRESSION"),
        ("figure", "perplexity_ratio.value", 1.2, 1.1),
    ]


def test_diff_names_files_that_differ_in_content_alone(artifacts: Path) -> None:
    a, b = make_artifact(artifacts, "v1"), make_artifact(artifacts, "v2")
    (b / "tokenizer.json").write_text("[]")
    manifest = read_manifest(b).model_copy(update={"files": file_records(b)})
    rows = compare(read_manifest(a), manifest, {}, {})
    assert [(row.section, row.name) for row in rows if not row.same] == [("content", "tokenizer.json")]


@pytest.mark.parametrize(
    ("a", "b", "change"),
    [(100, 150, 0.5), (2.0, 1.0, -0.5), (0, 1, None), (None, 1, None), ("x", "y", None), (True, False, None)],
)
def test_a_change_is_relative_and_only_between_numbers(a: object, b: object, change: float | None) -> None:
    assert Row("size", "bytes", a, b).change == change


def found(directory: Path, *, full: bool = True) -> list[tuple[str, str]]:
    return [(p.file, p.kind) for p in problems(directory, read_manifest(directory), full=full)]


def test_verify_of_an_untouched_artifact_finds_nothing(artifacts: Path) -> None:
    assert found(make_artifact(artifacts, "v1")) == []


def test_verify_finds_every_problem_at_once(artifacts: Path) -> None:
    directory = make_artifact(artifacts, "v1")
    (directory / "config.json").write_text('{"model_type": "other", "hidden_size": 64}')
    (directory / "tokenizer.json").unlink()
    (directory / "tokenizer_config.json").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 2\n"
    )
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    (directory / "modeling.py").write_text("import os")
    assert found(directory) == [
        ("config.json", "changed"),
        ("model.safetensors", "truncated"),
        ("tokenizer.json", "missing"),
        ("tokenizer_config.json", "pointer"),
        ("modeling.py", "code"),
    ]


def test_verify_finds_one_flipped_bit_at_any_place(artifacts: Path) -> None:
    directory = make_artifact(artifacts, "v1")
    weights = directory / "model.safetensors"
    data = weights.read_bytes()
    for place in (0, 8, 100, len(data) // 2, len(data) - 1):
        weights.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert found(directory) == [("model.safetensors", "changed")], place
    assert found(directory, full=False) == [], "sizes alone do not show it"


def test_verify_finds_an_auto_map_that_was_there_from_the_start(artifacts: Path) -> None:
    directory = make_artifact(artifacts, "v1")
    config = {"model_type": "llama", "auto_map": {"AutoModel": "modeling.Model"}}
    (directory / "config.json").write_text(json.dumps(config))
    manifest = read_manifest(directory).model_copy(update={"files": file_records(directory)})
    [problem] = problems(directory, manifest, full=True)
    assert problem.kind == "unusable"
    assert "auto_map" in problem.text


def versions(artifacts: Path) -> list[str]:
    return [f"{e.manifest.name}/{e.manifest.version}" for e in find_artifacts(artifacts)]


def collected(artifacts: Path, keep: int, *, name: str | None = None, dry_run: bool = False) -> list[str]:
    run = artifacts.parent / "run"
    return [path.name for path in collect(artifacts, run, keep=keep, name=name, dry_run=dry_run).versions]


def test_gc_keeps_the_newest_of_each_name(artifacts: Path) -> None:
    for day in (1, 2, 3):
        make_artifact(artifacts, f"v{day}", day=day)
    make_artifact(artifacts, "w1", name="n")
    assert collected(artifacts, 2) == ["v1"]
    assert versions(artifacts) == ["m/v2", "m/v3", "n/w1"]


def test_gc_never_takes_the_current_or_previous_version(artifacts: Path) -> None:
    for day in (1, 2, 3, 4):
        make_artifact(artifacts, f"v{day}", day=day)
    promote(artifacts / "m" / "v1")
    promote(artifacts / "m" / "v2")
    assert collected(artifacts, 0) == ["v4", "v3"]
    assert versions(artifacts) == ["m/v1", "m/v2"]


def test_gc_never_takes_what_a_server_runs_on(artifacts: Path) -> None:
    directory = make_artifact(artifacts, "v1")
    state = artifacts.parent / "run" / "serving.json"
    state.parent.mkdir()
    state.write_text(json.dumps({"target": str(directory)}))
    assert collected(artifacts, 0) == []
    state.write_text("{")
    assert collected(artifacts, 0) == ["v1"]


def test_gc_of_one_name_leaves_the_others_and_a_dry_run_leaves_all(artifacts: Path) -> None:
    make_artifact(artifacts, "v1")
    make_artifact(artifacts, "w1", name="n")
    assert collected(artifacts, 0, dry_run=True) == ["v1", "w1"]
    assert collected(artifacts, 0, name="n") == ["w1"]
    assert versions(artifacts) == ["m/v1"]


def test_gc_clears_what_a_killed_run_left(artifacts: Path) -> None:
    home = make_artifact(artifacts, "v1").parent
    left = home / ".v2.staging-999999999"
    left.mkdir()
    (left / "part.bin").write_bytes(bytes(1000))
    removed = collect(artifacts, artifacts.parent / "run", keep=1, name=None, dry_run=False)
    assert (removed.unfinished, removed.freed_bytes, left.exists()) == ((left,), 1000, False)


def test_gc_waits_for_no_one_and_refuses_nonsense(artifacts: Path) -> None:
    home = make_artifact(artifacts, "v1").parent
    with exclusive_lock(home / ".lock", "promotion"), pytest.raises(Locked):
        collected(artifacts, 0)
    with pytest.raises(UsageError, match="negative"):
        collected(artifacts, -1)
    with pytest.raises(UsageError, match="no artifact absent"):
        collected(artifacts, 0, name="absent")
    assert versions(artifacts) == ["m/v1"]


def test_export_to_a_folder_is_a_whole_artifact(artifacts: Path, tmp_path: Path) -> None:
    directory = make_artifact(artifacts, "v1")
    (directory / ".hidden").write_text("not part of it")
    copy = export(directory, tmp_path / "out" / "copy")
    check_files(copy, read_manifest(copy), full=True)
    assert read_report(copy) == read_report(directory)
    assert not (copy / ".hidden").exists()


def test_export_to_tar_unpacks_into_artifacts(artifacts: Path, tmp_path: Path) -> None:
    directory = make_artifact(artifacts, "v1")
    made = export(directory, tmp_path / "m.tar.gz")
    (tmp_path / "elsewhere").mkdir()
    subprocess.run(["tar", "-xf", made, "-C", tmp_path / "elsewhere"], check=True)
    assert versions(tmp_path / "elsewhere") == ["m/v1"]
    assert found(tmp_path / "elsewhere" / "m" / "v1") == []


def test_the_same_artifact_gives_the_same_tar(artifacts: Path, tmp_path: Path) -> None:
    directory = make_artifact(artifacts, "v1")
    first = export(directory, tmp_path / "a.tar").read_bytes()
    for path in directory.iterdir():
        os.utime(path, (1, 1))
        path.chmod(0o600)
    assert export(directory, tmp_path / "b.tar").read_bytes() == first
    packed = export(directory, tmp_path / "c.tar.gz")
    assert gzip.decompress(packed.read_bytes()) == first
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert {(m.uid, m.uname, oct(m.mode)) for m in archive} == {(0, "", "0o644")}


def test_a_damaged_artifact_is_not_exported(artifacts: Path, tmp_path: Path) -> None:
    directory = make_artifact(artifacts, "v1")
    (directory / "tokenizer.json").write_text("[]")
    for name in ("copy", "copy.tar"):
        with pytest.raises(ArtifactError, match="was changed"):
            export(directory, tmp_path / name)
        assert not (tmp_path / name).exists()


def test_an_export_overwrites_nothing(artifacts: Path, tmp_path: Path) -> None:
    (tmp_path / "there.tar").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        export(make_artifact(artifacts, "v1"), tmp_path / "there.tar")
    assert (tmp_path / "there.tar").read_text() == "mine"
