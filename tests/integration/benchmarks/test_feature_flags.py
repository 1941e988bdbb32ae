"""Every feature's engine starts, on and off: vLLM itself judges the flags."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from quantserve.benchmarks.scenarios.features import FEATURES
from tests.programs import PYTHON, told_by
from tests.tiny_llama import write_tiny_llama

LONGEST = 4096
"""Tokens of context: longer than a step of profile cpu, as with any real model."""


def planned(model: Path, flags: tuple[str, ...]) -> list[str]:
    """Return the flags of vLLM's server that the launcher would give it."""
    argv = [PYTHON, "-m", "quantserve.serving", "plan", str(model), "--profile", "cpu", "--json"]
    done = subprocess.run([*argv, "--", *flags], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    words: list[str] = json.loads(done.stdout)["argv"]
    return words[words.index("quantserve.serving.vllm_server") + 1 :]


def test_vllm_takes_the_flags_of_every_feature(tmp_path: Path) -> None:
    model = write_tiny_llama(tmp_path / "tiny", LONGEST)
    states = {
        f"{feature.name} {state}": planned(model, flags)
        for feature in FEATURES
        for state, flags in (("off", feature.off), ("on", feature.on))
    }
    asked = tmp_path / "flags.json"
    asked.write_text(json.dumps(states))
    problems = told_by(Path(__file__).with_name("check_configs.py"), asked)
    assert problems == dict.fromkeys(states)
