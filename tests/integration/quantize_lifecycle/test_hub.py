"""push and pull, over HTTP, with a server that speaks the hub's protocol."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quantserve.quantize.artifact import check_files, read_manifest, read_report
from tests.fakes.hub import FakeHub
from tests.integration.quantize_lifecycle.conftest import Program
from tests.unit.quantize.made import make_artifact


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def test_what_is_pushed_comes_back_the_same(program: Program, hub: FakeHub) -> None:
    directory = make_artifact(program.path / "artifacts", "v1")
    (directory / "README.md").write_text("# A model card\n")
    before = content(directory)

    status, pushed, seen = program("push", "m/v1", "owner/name")
    assert status == 0, seen
    assert hub.files("owner/name") == before
    assert pushed["commit_url"].endswith(hub.repositories["models", "owner/name"].commits[-1][0])
    assert hub.repositories["models", "owner/name"].private

    directory.rename(program.path / "away")
    status, pulled, seen = program("pull", "owner/name")
    assert status == 0, seen
    assert (pulled["status"], pulled["version"]) == ("made", "v1")
    assert content(directory) == before
    check_files(directory, read_manifest(directory), full=True)
    assert read_report(directory)["verdict"] == "ACCEPT"
    assert [p.name for p in (program.path / "artifacts" / ".incoming").iterdir() if p.is_dir()] == []

    assert program("pull", "owner/name")[1]["status"] == "unchanged"


def test_a_revision_is_pulled_as_it_was(program: Program, hub: FakeHub) -> None:
    first = hub.put("models", "o/m", content(make_artifact(program.path / "made", "v1")))
    hub.commit("models", "o/m", content(make_artifact(program.path / "made", "v2")))
    _, pulled, _ = program("pull", f"o/m@{first}")
    assert (pulled["version"], pulled["commit"]) == ("v1", first)


def test_pushing_another_version_leaves_no_file_of_the_first(program: Program, hub: FakeHub) -> None:
    first = make_artifact(program.path / "artifacts", "v1")
    hub.put(
        "models", "o/m", {**content(first), "model-00001-of-00002.safetensors": b"old", "notes.md": b"mine"}
    )
    make_artifact(program.path / "artifacts", "v2")
    assert program("push", "m/v2", "o/m")[0] == 0
    files = hub.files("o/m")
    assert "model-00001-of-00002.safetensors" not in files
    assert files["notes.md"] == b"mine"
    assert json.loads(files["manifest.json"])["version"] == "v2"


@pytest.mark.parametrize("verdict", ["REGRESSION", None])
def test_what_the_gate_has_not_accepted_is_not_published(
    program: Program, hub: FakeHub, verdict: str | None
) -> None:
    make_artifact(program.path / "artifacts", "v1", verdict=verdict)
    status, _, seen = program("push", "m/v1", "owner/name")
    assert (status, "may not be published" in seen) == (3, True)
    assert hub.requests == []
    assert program("push", "m/v1", "owner/name", "--force", "--public")[0] == 0
    assert not hub.repositories["models", "owner/name"].private


def test_a_damaged_artifact_is_not_published(program: Program, hub: FakeHub) -> None:
    directory = make_artifact(program.path / "artifacts", "v1")
    (directory / "tokenizer.json").write_text("[]")
    status, _, seen = program("push", "m/v1", "owner/name")
    assert (status, "was changed after it was made" in seen) == (2, True)
    assert hub.requests == []


def test_a_wrong_token_is_one_clear_line(program: Program, hub: FakeHub) -> None:
    make_artifact(program.path / "artifacts", "v1")
    status, _, seen = program("push", "m/v1", "owner/name", HF_TOKEN="hf_other")
    assert (status, "Set HF_TOKEN" in seen) == (2, True), seen


def pulled(program: Program, *references: str) -> list[str]:
    """Pull one after the other in one process; return each one's error, or what was made."""
    return list(program.python(PULLS.format(references=references)))


PULLS = """
import json
from pathlib import Path
from quantserve.core.errors import QuantserveError
from quantserve.quantize.lifecycle.hub import pull

def pulled(reference):
    try:
        return str(pull(reference, Path("artifacts")).directory)
    except QuantserveError as error:
        return str(error)

print(json.dumps([pulled(reference) for reference in {references!r}]))
"""


def test_a_file_that_arrives_damaged_leaves_no_artifact(program: Program, hub: FakeHub) -> None:
    files = content(make_artifact(program.path / "made", "v1"))
    names = sorted(json.loads(files["manifest.json"])["files"])
    for number, name in enumerate(names):
        flipped = files[name][:-1] + bytes([files[name][-1] ^ 1])
        hub.put("models", f"o/m{number}", {**files, name: flipped})
    errors = pulled(program, *(f"o/m{number}" for number in range(len(names))))
    for name, error in zip(names, errors, strict=True):
        assert f"{name} was changed" in error
    assert not (program.path / "artifacts" / "m").exists()


def test_a_broken_download_is_finished_by_the_client_or_the_next_pull(program: Program, hub: FakeHub) -> None:
    files = content(make_artifact(program.path / "made", "v1"))
    hub.put("models", "o/m", files)
    hub.cut_downloads = 1
    if program("pull", "o/m")[0] != 0:
        assert not (program.path / "artifacts" / "m").exists()
        assert program("pull", "o/m")[0] == 0
    assert content(program.path / "artifacts" / "m" / "v1") == files


def test_code_beside_an_artifact_never_reaches_the_disk(program: Program, hub: FakeHub) -> None:
    files = content(make_artifact(program.path / "made", "v1"))
    hub.put("models", "o/m", {**files, "modeling.py": b"import os", "pytorch_model.bin": b"\x80\x04."})
    assert program("pull", "o/m")[0] == 0
    assert content(program.path / "artifacts" / "m" / "v1") == files
    assert not [path for _, path in hub.requests if path.endswith((".py", ".bin"))]


UNSAFE: dict[str, tuple[dict[str, object], str]] = {
    "pickle": ({"also": ["pytorch_model.bin"]}, "could run code"),
    "python": ({"also": ["modeling.py"]}, "could run code"),
    "upwards": ({"also": ["../../outside.json"]}, "outside its folder"),
    "absolute": ({"also": ["/etc/outside.json"]}, "outside its folder"),
    "name": ({"name": "../m"}, "not a plain folder name"),
    "version": ({"version": "current"}, "not a plain folder name"),
    "schema": ({"schema_version": 99}, "Update quantserve"),
}


def test_an_unsafe_artifact_is_refused_before_its_files_are_fetched(program: Program, hub: FakeHub) -> None:
    files = content(make_artifact(program.path / "made", "v1"))
    for what, (changes, _) in UNSAFE.items():
        manifest = json.loads(files["manifest.json"])
        for name in changes.get("also", []):  # type: ignore[attr-defined]
            manifest["files"][name] = manifest["files"]["config.json"]
        manifest |= {key: value for key, value in changes.items() if key != "also"}
        hub.put("models", f"o/{what}", {**files, "manifest.json": json.dumps(manifest).encode()})
    errors = pulled(program, *(f"o/{what}" for what in UNSAFE))
    for error, (_, message) in zip(errors, UNSAFE.values(), strict=True):
        assert message in error
    assert not [path for _, path in hub.requests if path.endswith(".safetensors")]
    assert [path.name for path in (program.path / "artifacts").iterdir()] == [".incoming"]


def test_what_is_not_there_is_said(program: Program, hub: FakeHub) -> None:
    hub.put("models", "o/plain", {"config.json": b"{}"})
    absent, plain, revision, nonsense = pulled(program, "o/absent", "o/plain", "o/plain@v9", "a/b/c")
    assert "The hub has no artifact o/absent" in absent
    assert "quantserve quantize model o/plain" in plain
    assert "not in that revision" in revision
    assert "is not a hub id" in nonsense


def test_an_unreachable_hub_is_said(program: Program) -> None:
    status, _, seen = program("pull", "o/m", HF_ENDPOINT="http://127.0.0.1:9")
    assert (status, "The hub cannot be reached" in seen) == (2, True), seen
