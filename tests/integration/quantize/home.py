"""A working folder with a tiny model, and the command line run in it as users run it."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.programs import ROOT

PYTHON = ROOT / ".venvs" / "quantize" / "bin" / "python"
NO_ENGINE = {"QUANTSERVE_ENVIRONMENTS": "/nonexistent"}
"""Nobody is asked whether the tiny model is served: vLLM takes longer to import than it to quantize."""
SMALL = ("--sequences", "4", "--sequence-tokens", "64")


@dataclass(frozen=True)
class Home:
    """A working folder with the tiny model in models/tiny; `path_first` goes before all on PYTHONPATH."""

    path: Path
    path_first: str = ""

    @property
    def versions(self) -> Path:
        return self.path / "artifacts" / "tiny"

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        first = {"PYTHONPATH": self.path_first} if self.path_first else {}
        return subprocess.Popen(
            [PYTHON, "-m", "quantserve.quantize", *arguments],
            cwd=self.path,
            env={**os.environ, **first, **NO_ENGINE, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, *arguments: str, **environment: str) -> tuple[int, dict[str, Any], str]:
        """Return the exit status, the last line's JSON and what people saw."""
        with self.start(*arguments, **environment) as process:
            out, err = process.communicate(timeout=300)
        return process.returncode, json.loads(out.splitlines()[-1]) if out else {}, err

    def run(self, *arguments: str) -> dict[str, Any]:
        status, result, err = self.call("run", "--model", "models/tiny", *SMALL, *arguments)
        assert status == 0, err
        return result
