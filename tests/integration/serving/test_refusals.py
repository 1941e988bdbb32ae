"""What is refused before an engine is started: one line, the right exit code, no traceback."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from quantserve.quantize.artifact import Manifest, file_records, now, write_manifest
from tests.integration.serving.conftest import Serving
from tests.programs import ROOT


def refused(serving: Serving, *words: str | Path) -> tuple[int, str]:
    done = serving(*words)
    assert "Traceback" not in done.stderr
    return done.returncode, " ".join(done.stderr.split())


@pytest.fixture
def artifact(tiny_model: Path, tmp_path: Path) -> Path:
    directory = tmp_path / "tiny" / "v1"
    shutil.copytree(tiny_model, directory)
    manifest = Manifest(
        name="tiny",
        version="v1",
        key="k",
        created=now(),
        method="none",
        bits=16,
        parameters={},
        base=None,
        files=file_records(directory),
    )
    write_manifest(directory, manifest)
    return directory


@pytest.mark.parametrize("command", ["serve", "up"])
def test_taken_port_is_said_before_anything_starts(
    serving: Serving, tiny_model: Path, run_dir: Path, command: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        code, line = refused(serving, command, tiny_model, "--port", str(port), "--run-dir", run_dir)
    assert code == 6
    assert f"cannot listen on 127.0.0.1:{port}" in line
    assert "--port" in line


def test_corrupted_artifact_is_refused(serving: Serving, artifact: Path, run_dir: Path) -> None:
    with (artifact / "model.safetensors").open("r+b") as stream:
        stream.truncate(1000)
    code, line = refused(serving, "serve", artifact, "--port", "0", "--run-dir", run_dir)
    assert code == 2
    assert "model.safetensors has 1000 bytes, its manifest says" in line


def test_artifact_with_a_changed_byte_is_refused(serving: Serving, artifact: Path, run_dir: Path) -> None:
    assert serving("plan", artifact, "--run-dir", run_dir).returncode == 0  # now it is known as whole
    with (artifact / "model.safetensors").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x7f")
    code, line = refused(serving, "up", artifact, "--port", "0", "--run-dir", run_dir)
    assert code == 2
    assert "model.safetensors was changed after it was made" in line


def test_a_python_without_the_engine_says_which_to_take(tiny_model: Path, run_dir: Path) -> None:
    words = [sys.executable, "-m", "quantserve.serving", "serve", str(tiny_model), "--port", "0"]
    words += ["--run-dir", str(run_dir)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert " ".join(done.stderr.split()).endswith(
        "vLLM is not in this Python. Run it by quantserve serving, which finds its environment"
    )


def test_settings_beyond_the_memory_are_refused_before_anything_starts(
    serving: Serving, tiny_model: Path, run_dir: Path
) -> None:
    wish = ("--run-dir", run_dir, "--", "--kv-cache-memory-bytes", str(1 << 50))
    for words in (("plan", tiny_model), ("serve", tiny_model, "--port", "0")):
        code, line = refused(serving, *words, *wish)
        assert code == 6
        assert "a KV cache of 1.0 PiB does not fit" in line


def test_restart_without_a_server_says_the_mend(serving: Serving, tmp_path: Path) -> None:
    code, line = refused(serving, "restart", "--run-dir", tmp_path)
    assert (code, "serving up TARGET" in line) == (1, True)


def test_plan_explains_every_flag_of_an_artifact(serving: Serving, artifact: Path, run_dir: Path) -> None:
    (artifact.parent / "current").symlink_to("v1")
    done = serving("plan", artifact.parent / "current", "--json", "--run-dir", run_dir)
    plan = json.loads(done.stdout.splitlines()[-1])
    assert (plan["model"], plan["version"]) == ("tiny", "v1")
    assert str(artifact) in plan["argv"]
    assert all(item["reason"] for item in plan["flags"] + plan["environment"])


def test_missing_directory_unknown_profile_and_stray_word_are_usage_errors(
    serving: Serving, tiny_model: Path, run_dir: Path
) -> None:
    assert refused(serving, "plan", "/no/such/model", "--run-dir", run_dir)[0] == 2
    code, line = refused(serving, "plan", tiny_model, "--profile", "cpuu", "--run-dir", run_dir)
    assert (code, "Did you mean 'cpu'" in line) == (2, True)
    code, line = refused(serving, "plan", tiny_model, "--run-dir", run_dir, "--", "stray")
    assert (code, "'stray' is no vLLM flag" in line) == (2, True)
    code, line = refused(serving, "plan", tiny_model, "--run-dir", run_dir, "--lora", "ko=/no/such/adapter")
    assert (code, "adapter 'ko': /no/such/adapter/adapter_config.json cannot be read" in line) == (2, True)


def test_doctor_lists_findings_with_their_mends(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QUANTSERVE_HARDWARE")
    done = serving("doctor", "--json", "--run-dir", tmp_path)
    report = json.loads(done.stdout.splitlines()[-1])
    found = {finding["what"]: finding for finding in report["findings"]}
    assert {"Python", "disk", "memory", "tcmalloc", "libiomp5", "torch", "float32"} <= found.keys()
    assert all(finding["mend"] for finding in report["findings"] if finding["level"] == "bad")
    assert (tmp_path / "hardware.json").is_file()


def test_logs_and_chat_without_a_server_say_the_mend(serving: Serving, tmp_path: Path) -> None:
    code, line = refused(serving, "logs", "--run-dir", tmp_path)
    assert (code, "serving up" in line) == (1, True)
    code, line = refused(serving, "chat", "--base-url", "http://127.0.0.1:9/v1")
    assert (code, "serving up" in line) == (1, True)
