"""The machine's GPU, the programs under test as users call them, and a place for what is measured."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUANTIZE = ROOT / ".venvs/quantize/bin/python"
SERVING = Path(os.environ.get("QUANTSERVE_SERVING_PYTHON", ROOT / ".venvs/serving/bin/python"))
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}

Record = Callable[[str, dict[str, Any]], None]


@pytest.fixture(scope="session", autouse=True)
def device() -> str:
    """Name, driver and memory of the GPU; without one these tests cannot say anything."""
    try:
        asked = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        raise pytest.UsageError(f"tests/gpu need an NVIDIA GPU: {error}") from error


@pytest.fixture(scope="session")
def record(device: str) -> Record:
    """Add a line to run/gpu/figures.jsonl: what a user's own machine gave."""
    path = ROOT / "run/gpu/figures.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(what: str, figures: dict[str, Any]) -> None:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"what": what, "device": device, **figures}) + "\n")

    return write


def last_json(
    python: Path, *words: str | Path, cwd: Path, allowed: tuple[int, ...] = (0,), **env: str
) -> dict[str, Any]:
    """Run a program that ends with a line of JSON on standard output, and return that line's content."""
    done = subprocess.run(
        [python, *map(str, words)],
        cwd=cwd,
        env={**ENVIRONMENT, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in allowed, (done.stdout + done.stderr)[-6000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
