"""Every layout on a tiny model: unpacked from the published formats, and loaded by the engine."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.quantize.make_layouts_cases import BITS_EXACT, ERROR, ON_CPU, PROMPT
from tests.programs import ROOT
from tests.tiny_llama import write_tiny_llama

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
            "PYTHONPATH": str(ROOT),  # it imports from the tests
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


def test_the_search_for_scales_finds_the_same_in_any_steps(made: dict[str, dict[str, Any]]) -> None:
    assert made["steps"] == {"symmetric": True, "asymmetric": True}


def test_scaling_channels_changes_nothing_but_the_rounding(made: dict[str, dict[str, Any]]) -> None:
    # A scale taken by one side alone changes log-probabilities by 1 and more.
    assert made["int8 calibrated"]["drift"] < 0.3
    assert made["w8"]["drift"] < 0.3


def test_kept_modules_are_the_base_s_own(made: dict[str, dict[str, Any]]) -> None:
    assert made["gptq kept"]["error"]["model.layers.0.mlp.down_proj.weight"] < 0.3
    assert made["mixed symmetric"]["error"]["model.layers.0.mlp.down_proj.weight"] < 0.01
    assert made["mixed symmetric"]["error"]["model.layers.1.mlp.down_proj.weight"] > 0.05


@pytest.fixture(scope="module")
def asked(home: Path, made: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What vLLM says with each checkpoint, under the flags and variables it is served with."""
    directories = {case: made[case]["directory"] for case in ON_CPU}
    first, *_ = directories.values()
    variables = {
        **os.environ,
    }
    plan = subprocess.run(
        [SERVING, "-m", "quantserve.serving", "plan", first, "--json"],
        cwd=home,
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    planned = json.loads(plan.stdout.splitlines()[-1])
    (home / "flags.json").write_text(json.dumps(planned["argv"][3:]))
    program = Path(__file__).with_name("load_with_vllm.py")
    done = subprocess.run(
        [SERVING, program, "flags.json", json.dumps(PROMPT), *directories.values()],
        cwd=home,
        env={**variables, **planned["env"], "VLLM_ENABLE_V1_MULTIPROCESSING": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    return {case: told[directory] for case, directory in directories.items()}


@pytest.mark.engine
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("case", "tolerance"), ON_CPU.items())
def test_the_engine_loads_it_and_computes_with_the_same_weights(
    made: dict[str, dict[str, Any]], asked: dict[str, dict[str, Any]], case: str, tolerance: float
) -> None:
    found = asked[case]["logprobs"]
    differences = [abs(a - b) for a, b in zip(found, made[case]["reference"], strict=True)]
    assert max(differences) < tolerance
    assert asked[case]["text"]
