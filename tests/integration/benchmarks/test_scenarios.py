"""The comparing scenarios, with the fake in the place of the serving environment's interpreter.

What the launcher would do with a real engine is the serving tests' business; here the scenarios start
servers, take turns, survive one that does not start, and write reports.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

LAUNCHER = """#!/bin/sh
# Called as: PYTHON -m quantserve.serving serve TARGET --port 0 --private --ready-file FILE … [-- FLAGS]
target="$4"; ready="$9"
case "$target" in
  *broken*) echo "RuntimeError: no kernel for this format" >&2; exit 1;;
  *slow*) itl=8;;
  *) itl=2;;
esac
exec {python} -m tests.fakes_load.server --ttft-ms 10 --itl-ms $itl --ready-file "$ready"
"""


@pytest.fixture
def launcher(tmp_path: Path) -> Path:
    path = tmp_path / "environments/serving/bin/python"
    path.parent.mkdir(parents=True)
    path.write_text(LAUNCHER.format(python=sys.executable))
    path.chmod(0o755)
    return path


def checkpoint(path: Path, **manifest: Any) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(b"0" * 2**20)
    if manifest:
        (path / "manifest.json").write_text(json.dumps(manifest))
        figures = {"perplexity_ratio": {"value": 1.12, "low": 1.1, "high": 1.14}}
        (path / "report.json").write_text(json.dumps({"verdict": "ACCEPT", "figures": figures}))
    return path


def bench(launcher: Path, out: Path, *argv: str) -> tuple[Path, dict[str, Any]]:
    env = {**os.environ, "QUANTSERVE_ENVIRONMENTS": str(launcher.parents[2])}
    done = subprocess.run(
        [sys.executable, "-m", "quantserve.benchmarks", *argv, "--out", str(out), "--seed", "5"],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env=env,
    )
    assert done.returncode in {0, 7, 8}, done.stderr  # the verdict, which this machine's load decides
    last = json.loads(done.stdout.splitlines()[-1])
    return Path(last["run"]), last


def test_quant_sets_quality_beside_speed(launcher: Path, tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "slow-base")
    quantized = checkpoint(tmp_path / "fast" / "gptq-w4-1", version="gptq-w4-1", bits=4, method="gptq")
    argv = (
        "quant",
        str(base),
        str(quantized),
        "--users",
        "1,4",
        "--workload",
        "synthetic:prompt=8,output=16",
    )
    run, last = bench(launcher, tmp_path / "runs", *argv, "--repeats", "1", "--price", "3.6")
    assert {p["subject"] for p in last["points"]} == {"slow-base", "gptq-w4-1"}
    summary = (run / "summary.md").read_text()
    row = next(line for line in summary.splitlines() if line.startswith("| gptq-w4-1 | 4 |"))
    assert "1.12" in row
    assert "ACCEPT" in row
    speed = {p["subject"]: p["output_tps"] for p in last["points"] if p["load"] == "closed:4"}
    assert speed["gptq-w4-1"] > 2 * speed["slow-base"]


def test_a_target_that_does_not_start_is_part_of_the_result(launcher: Path, tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "base")
    broken = checkpoint(tmp_path / "broken", version="fp8-1", bits=8)
    argv = ("quant", str(base), str(broken), "--users", "2", "--workload", "synthetic:prompt=8,output=8")
    run, last = bench(launcher, tmp_path / "runs", *argv, "--repeats", "1")
    assert {p["subject"] for p in last["points"]} == {"base"}
    assert "RuntimeError: no kernel for this format" in (run / "report.html").read_text()


def test_features_are_measured_off_and_on(launcher: Path, tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "base")
    argv = ("features", str(base), "--only", "speculation", "--repeats", "1", "--quick")
    run, last = bench(launcher, tmp_path / "runs", *argv)
    assert {p["subject"] for p in last["points"]} == {"speculation off", "speculation on"}
    assert len(last["points"]) == 4
    assert "should hurt" in (run / "summary.md").read_text()


def test_peers_that_fail_are_reported_with_their_error(launcher: Path, tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "base")
    argv = ("peers", str(base), "--only", "quantserve", "--only", "llama", "--gguf", "nowhere.Q4_1.gguf")
    run, last = bench(launcher, tmp_path / "runs", *argv, "--quick", "--users", "1,2")
    assert {p["subject"] for p in last["points"]} == {"quantserve"}
    assert "llama.cpp Q4_1" in json.loads((run / "extra.json").read_text())["failed_subjects"]


def test_results_names_the_command_of_every_run(launcher: Path, tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "base")
    run, _ = bench(launcher, tmp_path / "runs", "peers", str(base), "--only", "quantserve", "--quick")
    out = tmp_path / "results.md"
    subprocess.run(
        [sys.executable, "-m", "quantserve.benchmarks", "results", str(run), "--out", str(out)],
        check=True,
        timeout=60,
    )
    text = out.read_text()
    assert "quantserve benchmarks peers" in text
    assert "| quantserve |" in text


def words(process: psutil.Process) -> list[str]:
    """A process's command line; nothing when it ended since it was listed."""
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_no_server_outlives_the_program(launcher: Path, tmp_path: Path, how: signal.Signals) -> None:
    base = checkpoint(tmp_path / "slow-base")
    env = {**os.environ, "QUANTSERVE_ENVIRONMENTS": str(launcher.parents[2])}
    argv = [
        sys.executable,
        "-m",
        "quantserve.benchmarks",
        "peers",
        str(base),
        "--only",
        "quantserve",
        "--users",
        "1",
    ]
    argv += ["--workload", "synthetic:prompt=8,output=200", "--out", str(tmp_path / "runs")]
    program = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    root = psutil.Process(program.pid)

    def servers() -> list[psutil.Process]:
        return [p for p in root.children(recursive=True) if "tests.fakes_load.server" in words(p)]

    limit = time.monotonic() + 60
    while not servers():
        assert time.monotonic() < limit
        time.sleep(0.1)
    server = servers()[0]
    time.sleep(0.5)
    program.send_signal(how)
    program.wait(30)
    server.wait(30)
    assert not server.is_running()
