"""The command line in the quantize environment, with a hub of our own in the real one's place."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.hub import FakeHub
from tests.integration.quantize.home import NO_ENGINE

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venvs" / "quantize" / "bin" / "python"


@dataclass(frozen=True)
class Program:
    """`quantserve quantize` in a folder of its own."""

    path: Path
    environment: dict[str, str]

    def __call__(self, *arguments: str | Path, **environment: str) -> tuple[int, dict[str, Any], str]:
        """Return the exit status, the last line's JSON and what people saw, on one line."""
        done = subprocess.run(
            [PYTHON, "-m", "quantserve.quantize", *arguments],
            cwd=self.path,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        out = done.stdout.splitlines()
        return done.returncode, json.loads(out[-1]) if out else {}, " ".join(done.stderr.split())

    def python(self, code: str) -> Any:
        """Run code that prints one line of JSON last; return it."""
        done = subprocess.run(
            [PYTHON, "-c", code],
            cwd=self.path,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as server:
        yield server


@pytest.fixture
def program(tmp_path: Path, hub: FakeHub) -> Program:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    environment = {
        **kept,
        **NO_ENGINE,
        **hub.environment,
        "PYTHONPATH": str(ROOT),
        "HF_HOME": str(tmp_path / "hf"),
    }
    return Program(tmp_path, environment)
