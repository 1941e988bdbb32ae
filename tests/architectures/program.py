"""A program of another environment that answers lines of JSON, kept for as long as there are tasks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from tests.programs import ENVIRONMENT, ROOT

QUANTIZE = ROOT / ".venvs/quantize/bin/python"
"""The quantize environment's interpreter."""


class Program:
    """Asks one question after another; a program that dies over one is started again for the next."""

    def __init__(
        self, python: str | Path, module: str, *words: str | Path, env: Mapping[str, str], log: Path
    ) -> None:
        """Nothing is started before the first question. Its standard error goes into `log`."""
        self._command = [str(python), "-m", module, *map(str, words)]
        self._env = {**os.environ, **ENVIRONMENT, **env}
        self._log = log
        self._child: subprocess.Popen[str] | None = None

    def ask(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer; `died` says how the program ended where it gave none."""
        child = self._started()
        stdin, stdout = _pipes(child)
        try:
            stdin.write(json.dumps(task) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._child = None
            return {"died": _how(child.wait()), "log": str(self._log)}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the program."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def _started(self) -> subprocess.Popen[str]:
        if self._child is None:
            with self._log.open("ab") as log:
                self._child = subprocess.Popen(
                    self._command,
                    cwd=ROOT,
                    env=self._env,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                )
        return self._child


def _pipes(child: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    if child.stdin is None or child.stdout is None:
        raise RuntimeError("the program was started without pipes")
    return child.stdin, child.stdout


def _how(status: int) -> str:
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
