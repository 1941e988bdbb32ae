"""Scripts that run with the engine's Python, for tests that run with another."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PYTHON = os.environ.get("QUANTSERVE_SERVING_PYTHON", str(ROOT / ".venvs/serving/bin/python"))
"""The serving environment's interpreter."""


def told_by(script: Path, *words: str | Path, **environment: str) -> dict[str, Any]:
    """Run a script with the engine's Python; return its last line, which is JSON."""
    done = subprocess.run(
        [PYTHON, *map(str, (script, *words))],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
