"""`quantize auto` as users run it: a tiny model really quantized, judged in a fake engine on a socket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.programs import ROOT
from tests.tiny_llama import write_tiny_llama

PYTHON = ROOT / ".venvs" / "quantize" / "bin" / "python"
FAKE = ROOT / "tests/integration/quantize_gate/fake_serving.py"
LOG = [
    "INFO [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: quantization=awq,",
    "INFO [awq.py:352] Using CPUWNA16LinearKernel for AutoAWQLinearMethod",
]
BEHAVIOUR = {
    "tiny": {"decay": 0.5},
    "rtn": {"decay": 0.6, "log": LOG},  # perplexity 2.5 after 2.0
    "awq": {"decay": 0.51, "log": LOG},  # 2.041
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("auto")
    write_tiny_llama(path / "models" / "tiny")
    (path / "run").mkdir()
    (path / "run" / "fake.json").write_text(json.dumps(BEHAVIOUR), encoding="utf-8")
    interpreter = path / "environments/serving/bin/python"
    interpreter.parent.mkdir(parents=True)
    interpreter.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE} "$@"\n', encoding="utf-8")
    interpreter.chmod(0o755)
    return path


def auto(home: Path, *words: str) -> tuple[int, dict[str, Any], str]:
    done = subprocess.run(
        [PYTHON, "-m", "quantserve.quantize", "auto", "--model", "models/tiny", *words],
        cwd=home,
        env={**os.environ, "QUANTSERVE_ENVIRONMENTS": str(home / "environments")},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.stdout, done.stderr[-3000:]
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


def starts(home: Path) -> int:
    return len((home / "run/starts").read_text(encoding="utf-8").splitlines())


def test_the_first_step_within_the_goal_is_chosen_and_a_second_run_finds_it(home: Path) -> None:
    code, told, shown = auto(home, "--max-ppl-increase", "5%")

    assert code == 0, shown
    assert [(step["candidate"], step["verdict"]) for step in told["steps"]] == [
        ("rtn, group 128", "REGRESSION"),
        ("awq, group 128", "ACCEPT"),
    ]
    assert told["why"].startswith("awq, group 128: the first of 2 steps with at most +5.0% perplexity (+2.0%")
    assert (home / told["artifact"] / "report.html").is_file()
    assert "step 2 of at most" in shown
    assert starts(home) == 4

    code, again, _ = auto(home, "--max-ppl-increase", "5%")

    assert (code, again["artifact"]) == (0, told["artifact"])
    assert starts(home) == 4


def test_the_benchmark_prints_every_figure_and_which_targets_they_meet(home: Path) -> None:
    done = subprocess.run(
        [PYTHON, "-m", "quantserve.quantize.ladder.bench", "--model", "models/tiny", "--methods", "rtn,awq"],
        cwd=home,
        env={**os.environ, "QUANTSERVE_ENVIRONMENTS": str(home / "environments")},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert [(one["candidate"], round(one["ppl_increase"], 3)) for one in told["methods"]] == [
        ("rtn", 0.25),
        ("awq", 0.02),
    ]
    assert all(one["seconds"] and one["peak_memory_bytes"] for one in told["methods"])
    met = {one["target"]: one["met"] for one in told["targets"]}
    assert met["best 4-bit recipe at most +8 % perplexity"] is True
    assert met["GPTQ within 90 s"] is None
