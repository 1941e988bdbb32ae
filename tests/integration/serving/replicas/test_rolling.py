"""Two real engines are replaced by another version of their artifact, while clients stream throughout."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from quantserve.quantize.artifact import Manifest, file_records, now, write_manifest
from tests.integration.serving.conftest import Serving, wait_for
from tests.integration.serving.replicas.streaming import Streamers

pytestmark = pytest.mark.engine


def write_artifact(model: Path, directory: Path) -> Path:
    """A version of the tiny model; both have the same weights, only their manifests tell them apart."""
    shutil.copytree(model, directory)
    manifest = Manifest(
        name="tiny",
        version=directory.name,
        key=directory.name,
        created=now(),
        method="none",
        bits=16,
        parameters={},
        base=None,
        files=file_records(directory),
    )
    write_manifest(directory, manifest)
    return directory


def last_json(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text.splitlines()[-1])
    return found


@pytest.fixture
def current(tiny_model: Path, tmp_path: Path) -> Path:
    write_artifact(tiny_model, tmp_path / "tiny" / "v1")
    write_artifact(tiny_model, tmp_path / "tiny" / "v2")
    link = tmp_path / "tiny" / "current"
    link.symlink_to("v1")
    return link


@pytest.fixture
def run(tmp_path: Path) -> Path:
    own = tmp_path / "run"
    own.mkdir()
    return own


@pytest.fixture
def state(serving: Serving, current: Path, run: Path) -> Iterator[dict[str, Any]]:
    up = serving("up", current, "--replicas", "2", "--port", "0", "--run-dir", run)
    assert up.returncode == 0, up.stderr
    yield last_json(up.stdout)
    assert serving("down", "--run-dir", run).returncode == 0


def audit_lines(run: Path) -> list[dict[str, Any]]:
    lines = [line for file in run.glob("replica-*/audit-*.jsonl") for line in file.read_text().splitlines()]
    return [json.loads(line) for line in lines]


def test_rolling_restart_on_a_moved_link_fails_no_request(
    serving: Serving, state: dict[str, Any], current: Path, run: Path
) -> None:
    assert [replica["version"] for replica in state["replicas"]] == ["v1", "v1"]
    bound = [replica["cpus"] for replica in state["replicas"]]
    assert len({tuple(cpus) for cpus in bound}) == min(2, psutil.cpu_count() or 1)
    family = psutil.Process(state["pid"]).children(recursive=True)

    url = state["base_url"]
    with Streamers(url, "The with statement", count=4, max_tokens=24, pause_s=0.4) as clients:
        assert wait_for(lambda: len(clients.answers) >= 8, 60)
        current.unlink()
        current.symlink_to("v2")
        rolled = serving("restart", "--rolling", "--run-dir", run)
        assert rolled.returncode == 0, rolled.stderr
        after = len(clients.answers)
        assert wait_for(lambda: len(clients.answers) >= after + 8, 60)

    assert clients.failures == []
    assert all(answer.finished for answer in clients.answers)
    now_runs = last_json(rolled.stdout)
    assert [replica["version"] for replica in now_runs["replicas"]] == ["v2", "v2"]
    assert now_runs["version"] == "v2"
    assert not any(process.is_running() for process in family if "vllm_server" in " ".join(cmdline(process)))

    marked = {"x-request-id": "after-the-restart"}
    body = {"model": "tiny", "prompt": "hello", "max_tokens": 2}
    assert httpx.post(f"{now_runs['base_url']}/completions", json=body, headers=marked).status_code == 200
    assert wait_for(
        lambda: any(line["request_id"] == marked["x-request-id"] for line in audit_lines(run)), 10
    )
    versions = [line["version"] for line in sorted(audit_lines(run), key=lambda line: line["time"])]
    assert {"v1", "v2"} == set(versions)
    assert set(versions[-8:]) == {"v2"}

    again = serving("up", current, "--port", "0", "--run-dir", run)
    assert "already up" in again.stderr


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
