"""Every layout on a tiny model: unpacked from the published formats, and loaded by the engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.quantize.make_layouts_cases import BITS_EXACT, ERROR, ON_CPU, PROMPT
from tests.tiny_llama import write_tiny_llama

ROOT = Path(__file__).resolve().parents[3]
QUANTIZE = ROOT / ".venvs/quantize/bin/python"
SERVING = ROOT / ".venvs/serving/bin/python"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("layouts")
    write_tiny_llama(path / "tiny")
    return path


@pytest.fixture(scope="module")
def made(home: Path) -> dict[str, dict[str, Any]]:
    program = Path(__file__).with_name("make_layouts.py")
    done = subprocess.run(
        [QUANTIZE, program, "tiny", "made"],
        cwd=home,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HF_HUB_OFFLINE": "1",
            "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_FP16",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    facts: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return facts


@pytest.mark.parametrize("case", BITS_EXACT)
def test_the_files_hold_what_the_method_meant(made: dict[str, dict[str, Any]], case: str) -> None:
    assert made[case]["largest_difference"] == 0


@pytest.mark.parametrize(("case", "largest"), ERROR.items())
def test_the_weights_are_as_near_as_their_width_allows(
    made: dict[str, dict[str, Any]], case: str, largest: float
) -> None:
    errors = [error for error in made[case]["error"].values() if error > 0]
    assert 0 < max(errors) < largest


def test_error_feedback_and_scaling_lose_less_than_rounding(made: dict[str, dict[str, Any]]) -> None:
    losses = made["losses"]
    assert losses["feedback"] < 0.6 * losses["nearest"]
    assert losses["scaled"] < losses["nearest"]


def test_scaling_channels_changes_nothing_but_the_rounding(made: dict[str, dict[str, Any]]) -> None:
    # A scale taken by one side alone changes log-probabilities by 1 and more.
    assert made["int8 calibrated"]["drift"] < 0.3
    assert made["w8"]["drift"] < 0.3


def test_kept_modules_are_the_base_s_own(made: dict[str, dict[str, Any]]) -> None:
    assert made["gptq kept"]["error"]["model.layers.0.mlp.down_proj.weight"] < 0.3
    assert made["mixed symmetric"]["error"]["model.layers.0.mlp.down_proj.weight"] < 0.01
    assert made["mixed symmetric"]["error"]["model.layers.1.mlp.down_proj.weight"] > 0.05


def ask_engine(directory: Path, home: Path) -> tuple[list[float], str, str]:
    """Serve a checkpoint; return the prompt's log-probabilities, a greedy answer and the engine's log."""
    ready = home / "ready.json"
    ready.unlink(missing_ok=True)
    log = home / "serving.log"
    with log.open("w") as stream:
        server = subprocess.Popen(
            [
                *(SERVING, "-m", "serving", "serve", str(directory), "--port", "0"),
                *("--ready-file", str(ready), "--die-with-parent"),
            ],
            cwd=home,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        while not ready.exists():
            assert server.poll() is None, log.read_text()[-3000:]
            time.sleep(0.2)
        facts = json.loads(ready.read_text())
        body = {
            "model": facts["model"],
            "prompt": PROMPT,
            "max_tokens": 8,
            "temperature": 0,
            "prompt_logprobs": 0,
            "ignore_eos": True,
        }
        choice = httpx.post(f"{facts['url']}/v1/completions", json=body, timeout=60).json()["choices"][0]
        entries = choice["prompt_logprobs"][1:]
        found = [next(iter(entry.values()))["logprob"] for entry in entries]
        return found, choice["text"], log.read_text()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


@pytest.mark.engine
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("case", "tolerance"), ON_CPU.items())
def test_the_engine_loads_it_and_computes_with_the_same_weights(
    home: Path, made: dict[str, dict[str, Any]], case: str, tolerance: float
) -> None:
    found, text, _ = ask_engine(Path(home / made[case]["directory"]), home)
    differences = [abs(a - b) for a, b in zip(found, made[case]["reference"], strict=True)]
    assert max(differences) < tolerance
    assert text
