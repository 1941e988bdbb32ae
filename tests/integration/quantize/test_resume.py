"""kill -9 after each stage, and a rerun that repeats none of the stages before it.

A `sitecustomize` on the path of every process kills it right after the rename that finishes a stage.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.integration.quantize.home import SMALL, Home
from tests.tiny_llama import write_tiny_llama

KILLER = """
import os, signal

def dying(rename):
    def then_die(source, target, **options):
        rename(source, target, **options)
        if os.path.basename(target) == os.environ.get("DIE_AFTER"):
            os.kill(os.getpid(), signal.SIGKILL)
    return then_die

os.rename, os.replace = dying(os.rename), dying(os.replace)
"""
RUN = ("run", "--model", "models/tiny", *SMALL, "--method", "gptq")
# What the work folder holds once a stage has ended; each kill leaves one stage more than the last.
STAGES = {
    "tokens.json": {"tokens.json"},
    "0000.safetensors": {"tokens.json", "layers/0000.safetensors"},
    "0001.safetensors": {"tokens.json", "layers/0000.safetensors", "layers/0001.safetensors"},
    "checkpoint": {"tokens.json", "layers/0001.safetensors", "checkpoint/model.safetensors", "result.json"},
    "manifest.json": {"checkpoint/model.safetensors", "checkpoint/manifest.json"},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    path = tmp_path_factory.mktemp("resume")
    write_tiny_llama(path / "models" / "tiny")
    (path / "killer").mkdir()
    (path / "killer" / "sitecustomize.py").write_text(KILLER)
    return Home(path, path_first=str(path / "killer"))


def files(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()
    }


def test_each_kill_leaves_one_stage_more_and_no_stage_is_done_twice(home: Home) -> None:
    before: dict[str, int] = {}
    for stage, expected in STAGES.items():
        status, _, err = home.call(*RUN, DIE_AFTER=stage)
        # The worker's death is told by the parent; the manifest is written by the parent itself.
        assert status == (-signal.SIGKILL if stage == "manifest.json" else 6), err
        assert [path.name for path in home.versions.iterdir() if not path.name.startswith(".")] == []
        (work,) = home.versions.glob(".work-*")
        found = files(work)
        assert expected <= set(found)
        kept = set(before) & set(found) - {"checkpoint/manifest.json"}
        assert {name: found[name] for name in kept} == {name: before[name] for name in kept}
        before = found
    made = home.run("--method", "gptq")
    assert made["status"] == "made"
    assert list(home.versions.glob(".work-*")) == []
    assert home.call("verify", made["artifact"], "--full")[0] == 0


def test_what_was_resumed_is_what_one_run_makes(home: Home) -> None:
    resumed = home.run("--method", "gptq")
    assert resumed["status"] == "unchanged"
    again = Home(home.path / "second")
    write_tiny_llama(again.path / "models" / "tiny")
    whole = again.run("--method", "gptq")
    assert whole["version"] == resumed["version"]

    def hashes(place: Path, artifact: str) -> object:
        return json.loads((place / artifact / "manifest.json").read_text())["files"]

    assert hashes(again.path, whole["artifact"]) == hashes(home.path, resumed["artifact"])


def test_ctrl_c_leaves_whole_stages_only(home: Home) -> None:
    # Enough text that the work goes on for seconds after the text is ready.
    longer = ("--seed", "9", "--sequences", "400")
    process = home.start(*RUN, *longer)
    while not list(home.versions.glob(".work-*/tokens.json")):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert list(home.versions.glob(".work-*/*.part")) == []
    assert home.run("--method", "gptq", *longer)["status"] == "made"


def test_staging_of_dead_processes_is_swept_whatever_its_version(home: Home) -> None:
    dead = home.versions / ".awq-w4-g32-00000000.staging-999999999"
    dead.mkdir()
    home.run("--method", "rtn", "--group-size", "64")
    assert not dead.exists()
