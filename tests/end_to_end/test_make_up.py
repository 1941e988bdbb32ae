"""The main job as a newcomer does it: real quantization, real engine, real documents."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.end_to_end.conftest import NAME, ROOT, Home

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1200)]


def test_every_stage_is_shown_with_its_seconds(home: Home) -> None:
    text = (home.path / "up.txt").read_text(encoding="utf-8")
    names = re.findall(r"^\[(\d)/8\] (\w+) +ok +[\d.]+ s", text, flags=re.MULTILINE)
    expected = ["setup", "model", "quantize", "gate", "promote", "serve", "index"]
    assert names == [(str(number), name) for number, name in enumerate(expected, start=1)]
    assert "ACCEPT" in text
    assert f"http://127.0.0.1:{home.port}/v1" in text


def test_the_artifact_says_where_it_came_from_and_what_the_gate_measured(home: Home) -> None:
    current = next((home.path / "artifacts").glob("*/current"))
    manifest = json.loads((current / "manifest.json").read_text(encoding="utf-8"))
    report = json.loads((current / "report.json").read_text(encoding="utf-8"))
    assert (manifest["method"], manifest["bits"]) == ("int8", 8)
    assert manifest["calibration"]["tokens"] == 4 * 128
    assert set(manifest["files"]) >= {"config.json", "tokenizer.json"}
    assert report["verdict"] == "ACCEPT"
    assert manifest["name"] == NAME


def test_any_openai_client_is_a_client(home: Home) -> None:
    from openai import OpenAI

    client = OpenAI(base_url=f"http://127.0.0.1:{home.port}/v1", api_key="none")
    model = client.models.list().data[0].id
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "What is 2 + 2?"}],
        max_tokens=24,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert model == NAME
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert sum(bool(piece) for piece in pieces) > 1  # it streamed
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.completion_tokens >= 1


def test_a_second_run_finds_everything_done(home: Home) -> None:
    up = home.make("up")
    assert up.returncode == 0, up.stdout[-4000:]
    seconds = {name: float(s) for name, s in re.findall(r"\] (\w+) +ok +([\d.]+) s", up.stdout)}
    assert sum(seconds.values()) < 60, seconds  # an engine start alone takes longer
    assert "is already up" in up.stdout
    for name in ("setup", "quantize", "index"):
        assert re.search(rf"\] {name} .*unchanged", up.stdout), up.stdout[-4000:]


def test_a_korean_question_is_answered_with_its_source_page(home: Home) -> None:
    done = home.make("ask", Q="만 5년을 일하면 어떤 휴가를 받나요?")
    assert done.returncode == 0, done.stdout
    assert re.search(r"\[1\]", done.stdout)
    assert re.search(r"\.(pdf|md)", done.stdout)
    assert re.search("[가-힣]{2}", done.stdout)


def test_status_shows_a_server_that_decodes(home: Home) -> None:
    done = home.make("status")
    assert done.returncode == 0, done.stdout
    assert str(home.port) in done.stdout


@pytest.mark.parametrize(
    ("make_directory", "line"),
    [
        (lambda path: path.mkdir(), "is no checkpoint: it holds no config.json"),
        (lambda path: write_pickle_checkpoint(path), "holds pickle weights (pytorch_model.bin)"),
        (lambda path: write_remote_code_checkpoint(path), "has an auto_map"),
    ],
)
def test_a_model_that_cannot_be_used_is_one_clear_line(
    home: Home, tmp_path: Path, make_directory: object, line: str
) -> None:
    assert callable(make_directory)
    make_directory(tmp_path / "given")
    done = home.make("up", MODEL=str(tmp_path / "given"))
    assert done.returncode != 0
    assert line in done.stdout.replace("\n", " ")
    assert "Traceback" not in done.stdout
    with urllib.request.urlopen(f"http://127.0.0.1:{home.port}/health", timeout=10) as reply:
        assert reply.status == 200  # what was served before is still served


def write_pickle_checkpoint(path: Path) -> None:
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "llama"}')
    (path / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")


def write_remote_code_checkpoint(path: Path) -> None:
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "x", "auto_map": {"AutoModel": "evil.Model"}}')


def test_a_port_that_is_taken_is_said_before_anything_starts(home: Home, tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-m", "http.server", "0", "--bind", "127.0.0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert holder.stdout is not None
        port = re.findall(rb"port (\d+)", holder.stdout.readline())[0].decode()
        current = next((home.path / "artifacts").glob("*/current"))
        serving = str(ROOT / ".venvs" / "serving" / "bin" / "python")
        command = [serving, "-m", "quantserve.serving", "serve", str(current), "--port", port]
        done = subprocess.run(
            command, cwd=home.path, capture_output=True, text=True, check=False, timeout=120
        )
    finally:
        holder.kill()
        holder.wait()
    assert done.returncode != 0
    assert port in done.stderr
    assert "Traceback" not in done.stderr


def test_a_regression_leaves_what_was_served_serving(home: Home) -> None:
    before = next((home.path / "artifacts").glob("*/current")).resolve()
    done = home.make("quantize-and-deploy", GATE="--max-ppl-increase=-90%")
    assert done.returncode != 0
    assert "REGRESSION" in done.stdout
    assert "Error 3" in done.stdout  # the gate's exit code, as make reports it
    assert next((home.path / "artifacts").glob("*/current")).resolve() == before
    with urllib.request.urlopen(f"http://127.0.0.1:{home.port}/v1/models", timeout=10) as reply:
        assert reply.status == 200
    again = home.make("up")  # judged by its own limits it is accepted again
    assert again.returncode == 0, again.stdout[-4000:]
