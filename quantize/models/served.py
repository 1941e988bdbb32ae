"""What the engine would do with a model: its own plan answers, before anything is started."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantserve.core.console import console
from quantserve.core.errors import InputError
from quantserve.core.home import python_of

_TIMEOUT_S = 900.0
_REFUSED = InputError.exit_code
_NAME = "serving:"
# Sized anew at each start by the memory that is free just then.
_OF_THE_MOMENT = frozenset({"--kv-cache-memory-bytes"})
# Where something lies says nothing about what is computed, nor does the hash of a key or of a file.
_PLACES = re.compile(r"(?:/[^/:\s\"']+)+/|\b[0-9a-f]{64}\b")


def refuse_unserved(model: Path, run_dir: Path) -> None:
    """Refuse a base that `serving plan` refuses for what it is, not for what it needs of this machine.

    Nothing is asked where there is no serving environment: it is served elsewhere then.

    Raises:
        InputError: with the plan's reason.
    """
    python = python_of("serving")
    if not python.exists():
        return
    console.print("Asking the engine whether it serves the model", soft_wrap=True)
    done = _ask(python, model, run_dir)
    if done.returncode != _REFUSED:
        return  # a plan, or what this machine lacks for 16 bits: fewer may fit
    refusal = refusal_in(done.stderr)
    if refusal:
        raise InputError(
            f"The engine does not serve it: {refusal}", mend="Quantize it all the same with --force"
        )


def plan_digest(python: Path, model: Path, run_dir: Path) -> str | None:
    """Return a hash of the command line and environment with which the engine would serve a model.

    None is unknown: there is no serving environment, or it makes no plan now, for want of memory perhaps.
    """
    if not python.exists():
        return None
    done = _ask(python, model, run_dir)
    try:
        return None if done.returncode else digest_of(json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, ValueError, KeyError, TypeError):  # another program's words
        return None


def digest_of(plan: Mapping[str, Any]) -> str:
    """Return a hash of what a plan decides, wherever files lie and however much memory is free just now."""
    words: list[str] = []
    skipped = True  # the interpreter
    for word in map(str, plan["argv"]):
        if not skipped and word not in _OF_THE_MOMENT:
            words.append(word)
        skipped = word in _OF_THE_MOMENT
    decided = json.dumps({"argv": words, "env": plan["env"]}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(_PLACES.sub("", decided).encode()).hexdigest()[:24]


def _ask(python: Path, model: Path, run_dir: Path) -> subprocess.CompletedProcess[str]:
    words = (
        "-m",
        "quantserve.serving",
        "plan",
        model.absolute(),
        "--private",
        "--json",
        "--run-dir",
        run_dir,
    )
    command = [str(part) for part in (python.absolute(), *words)]
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
            env={**os.environ, "COLUMNS": "1000"},
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", "")


def refusal_in(text: str) -> str:
    """Return the last one-line error of `serving` in what it printed; "" without one."""
    refusals = [line.strip() for line in text.splitlines() if line.strip().startswith(_NAME)]
    return refusals[-1].removeprefix(_NAME).strip() if refusals else ""
