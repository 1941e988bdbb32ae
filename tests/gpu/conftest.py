"""The machine's GPU, the programs under test as users call them, and a place for what is measured."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.programs import ROOT

QUANTIZE = ROOT / ".venvs/quantize/bin/python"

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
