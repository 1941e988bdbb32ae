"""Programs that end with a line of JSON, run by the Python of their own environment."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantserve.core.home import CHECKOUT, python_of

ROOT = CHECKOUT or Path()
PYTHON = str(python_of("serving"))
"""The serving environment's interpreter."""
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
"""What programs under test get beside the tests' own environment; scripts import from the tests."""


def last_json(
    python: str | Path,
    *words: str | Path,
    cwd: Path = ROOT,
    allowed: tuple[int, ...] = (0,),
    timeout_s: float | None = None,
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run a program that ends with a line of JSON on standard output, and return that line's content."""
    done = subprocess.run(
        [python, *map(str, words)],
        cwd=cwd,
        env={**os.environ, **ENVIRONMENT, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode in allowed, (done.stdout + done.stderr)[-6000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def told_by(script: Path, *words: str | Path, **env: str) -> dict[str, Any]:
    """Run a script with the engine's Python; return its last line, which is JSON."""
    return last_json(PYTHON, script, *words, timeout_s=300, env=env)
