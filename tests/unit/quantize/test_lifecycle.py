from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from quantserve.core.files import Locked, exclusive_lock, point_symlink
from quantserve.quantize import artifact
from quantserve.quantize.artifact import (
    ArtifactError,
    Manifest,
    file_records,
    promote,
    rollback,
    write_manifest,
)
from quantserve.quantize.lifecycle import places

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make_artifact(version: str, verdict: str | None = "ACCEPT") -> Path:
        directory = tmp_path / "artifacts" / "m" / version
        directory.mkdir(parents=True)
        (directory / "model.safetensors").write_bytes(version.encode())
        (directory / "config.json").write_text("{}")
        if verdict:
            (directory / "report.json").write_text(json.dumps({"verdict": verdict}))
        manifest = Manifest(
            name="m",
            version=version,
            key=version * 8,
            created=f"2026-01-0{version[-1]}T00:00:00+00:00",
            method="gptq",
            bits=4,
            parameters={},
            base=None,
            files=file_records(directory),
        )
        write_manifest(directory, manifest)
        return directory

    return make_artifact


def pointed(home: Path) -> tuple[str | None, str | None]:
    current, previous = (
        (home / name).resolve().name if (home / name).is_symlink() else None
        for name in ("current", "previous")
    )
    return current, previous


def test_promote_moves_current_and_keeps_previous(make: Make) -> None:
    first, second = make("v1"), make("v2")
    places.promote(first, force=False)
    places.promote(second, force=False)
    assert pointed(first.parent) == ("v2", "v1")


def test_promoting_the_current_version_again_keeps_previous(make: Make) -> None:
    first, second = make("v1"), make("v2")
    promote(first)
    promote(second)
    promote(second)
    assert pointed(first.parent) == ("v2", "v1")


def test_rollback_exchanges_the_two(make: Make) -> None:
    first, second = make("v1"), make("v2")
    promote(first)
    promote(second)
    assert rollback(first.parent).name == "v1"
    assert pointed(first.parent) == ("v1", "v2")


def test_rollback_without_a_previous_version_changes_nothing(make: Make) -> None:
    first = make("v1")
    promote(first)
    with pytest.raises(ArtifactError, match="no previous version"):
        rollback(first.parent)
    assert pointed(first.parent) == ("v1", None)


@pytest.mark.parametrize(("verdict", "said"), [("REGRESSION", "said REGRESSION"), (None, "not seen it")])
def test_only_an_accepted_artifact_is_promoted(make: Make, verdict: str | None, said: str) -> None:
    directory = make("v1", verdict)
    with pytest.raises(places.NotAccepted, match=said):
        places.promote(directory, force=False)
    assert pointed(directory.parent) == (None, None)


def test_force_promotes_what_the_gate_refused(make: Make) -> None:
    directory = make("v1", "REGRESSION")
    places.promote(directory, force=True)
    assert pointed(directory.parent) == ("v1", None)


@pytest.mark.parametrize("steps", [0, 1])
def test_a_crash_while_promoting_leaves_a_version_serving(
    make: Make, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    first, second = make("v1"), make("v2")
    promote(first)
    done: list[str] = []
    real = point_symlink

    def dies(link: Path, target: str) -> None:
        if len(done) == steps:
            raise KeyboardInterrupt
        done.append(target)
        real(link, target)

    monkeypatch.setattr(artifact, "point_symlink", dies)
    with pytest.raises(KeyboardInterrupt):
        promote(second)
    assert pointed(first.parent)[0] == "v1"
    monkeypatch.setattr(artifact, "point_symlink", real)
    promote(second)
    assert pointed(first.parent) == ("v2", "v1")


def test_two_promotions_exclude_each_other(make: Make) -> None:
    directory = make("v1")
    with (
        exclusive_lock(directory.parent / ".lock", "promotion"),
        pytest.raises(Locked, match="already running"),
    ):
        promote(directory)


def test_a_directory_without_manifest_does_not_exist(make: Make, tmp_path: Path) -> None:
    directory = make("v1")
    (directory / "manifest.json").unlink()
    with pytest.raises(ArtifactError):
        places.promote(directory, force=True)
    assert places.find_artifacts(tmp_path / "artifacts") == []


def test_list_says_verdict_and_role_and_counts_links_once(make: Make, tmp_path: Path) -> None:
    promote(make("v1"))
    make("v2", None)
    entries = places.find_artifacts(tmp_path / "artifacts")
    assert [(e.manifest.version, e.verdict, e.role) for e in entries] == [
        ("v1", "ACCEPT", "current"),
        ("v2", None, ""),
    ]


def test_a_name_means_its_current_version(make: Make, tmp_path: Path) -> None:
    directory = make("v1")
    promote(directory)
    assert places.resolve("m", tmp_path / "artifacts") == directory
    assert places.resolve("m/v1", tmp_path / "artifacts") == directory
    with pytest.raises(ArtifactError, match="no artifact other"):
        places.resolve("other", tmp_path / "artifacts")


def test_verify_finds_a_missing_a_truncated_and_a_changed_file(make: Make) -> None:
    directory = make("v1")
    manifest = artifact.read_manifest(directory)
    artifact.check_files(directory, manifest, full=True)
    weights = directory / "model.safetensors"
    weights.write_bytes(b"XX")
    artifact.check_files(directory, manifest, full=False)
    with pytest.raises(ArtifactError, match="was changed"):
        artifact.check_files(directory, manifest, full=True)
    weights.write_bytes(b"X")
    with pytest.raises(ArtifactError, match="has 1 bytes, its manifest says 2"):
        artifact.check_files(directory, manifest, full=False)
    weights.unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        artifact.check_files(directory, manifest, full=False)


def test_a_manifest_with_an_unknown_field_is_refused(make: Make) -> None:
    directory = make("v1")
    path = directory / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "surprise": 1}))
    with pytest.raises(ArtifactError, match="surprise"):
        artifact.read_manifest(directory)


def test_the_report_may_change_after_the_manifest(make: Make) -> None:
    directory = make("v1")
    (directory / "report.json").write_text('{"verdict": "REGRESSION", "more": 1}')
    artifact.check_files(directory, artifact.read_manifest(directory), full=True)
