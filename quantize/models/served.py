"""Does the engine serve a base at all? Its own plan answers, before a minute is spent on quantizing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from quantserve.core.console import console
from quantserve.core.errors import InputError
from quantserve.quantize.config import PROJECT, serving_python

_TIMEOUT_S = 900.0
_REFUSED = InputError.exit_code
_NAME = "serving:"


def refuse_unserved(model: Path, run_dir: Path) -> None:
    """Refuse a base that `serving plan` refuses for what it is, not for what it needs of this machine.

    Nothing is asked where there is no serving environment: it is served elsewhere then.

    Raises:
        InputError: with the plan's reason.
    """
    python = serving_python()
    if not python.exists():
        return
    console.print("Asking the engine whether it serves the model", markup=False, soft_wrap=True)
    done = subprocess.run(
        [
            python.absolute(),
            *("-m", "quantserve.serving", "plan", model.absolute(), "--private", "--run-dir", run_dir),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
        env={**os.environ, "COLUMNS": "1000", "PYTHONPATH": str(PROJECT)},
    )
    if done.returncode != _REFUSED:
        return  # a plan, or what this machine lacks for 16 bits: fewer may fit
    refusal = refusal_in(done.stderr)
    if refusal:
        raise InputError(
            f"The engine does not serve it: {refusal}", mend="Quantize it all the same with --force"
        )


def refusal_in(text: str) -> str:
    """Return the last one-line error of `serving` in what it printed; "" without one."""
    said = [line.strip() for line in text.splitlines() if line.strip().startswith(_NAME)]
    return said[-1].removeprefix(_NAME).strip() if said else ""
