"""Our engine as it is planned, with its guard and keys or bare: what `serving serve` would start, by hand."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from quantserve.benchmarks.errors import ServerUnusable
from quantserve.benchmarks.servers import ROOT, serving_python

_GUARD_FLAG, _GUARD_VARIABLE = "--middleware", "QUANTSERVE_GUARD"
_TIMEOUT_S = 180.0


@dataclasses.dataclass(frozen=True)
class Planned:
    """A command line with the variables it needs."""

    argv: list[str]
    env: dict[str, str]
    model: str


def call(*words: str) -> dict[str, Any]:
    """Run `quantserve serving WORDS` and return its last line.

    Raises:
        ServerUnusable: it failed; the message is its own.
    """
    done = subprocess.run(
        [serving_python(), "-m", "quantserve.serving", *words],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    if done.returncode != 0:
        raise ServerUnusable(" ".join(done.stderr.split()).removeprefix("serving: ")[-400:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def new_key(folder: Path) -> tuple[Path, str]:
    """Make a keys file with one key; return both."""
    file = folder / "keys.json"
    return file, str(call("keys", "create", "bench", "--keys", str(file))["key"])


def plan(target: str, port: int, keys: Path) -> Planned:
    """What would be started, guard, keys and audit log included."""
    words = ("plan", target, "--json", "--port", str(port), "--keys", str(keys))
    found = call(*words, "--run-dir", str(keys.parent))
    return Planned(found["argv"], found["env"], found["model"])


def bare(planned: Planned) -> Planned:
    """The same without the guard. Pure.

    Raises:
        ServerUnusable: the plan has no guard, so nothing would be compared.
    """
    if _GUARD_FLAG not in planned.argv or _GUARD_VARIABLE not in planned.env:
        raise ServerUnusable("the plan starts no guard")
    at = planned.argv.index(_GUARD_FLAG)
    argv = [*planned.argv[:at], *planned.argv[at + 2 :]]
    env = {name: value for name, value in planned.env.items() if name != _GUARD_VARIABLE}
    return Planned(argv, env, planned.model)
