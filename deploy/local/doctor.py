"""What this machine can do, each finding with its mend. Run as: make doctor

Works before any environment exists; once the serving environment is there its own, deeper findings
(instruction sets that really run, dtype speeds, GPUs) follow.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass

from quantserve.deploy.local import settings as make_variables
from quantserve.deploy.local.environments import ROOT, VENVS, accelerator, environments, tcmalloc_installed
from quantserve.deploy.local.port import problem_with
from quantserve.deploy.local.stages import program, run_program
from quantserve.deploy.local.terminal import paint, run_main, say

_SETUP_DISK_GB = 14
_MEMORY_GB = 8


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `level` is ok, warning or error, and an error stops `make up`."""

    level: str
    what: str
    mend: str = ""


def _python() -> Finding:
    return Finding("ok", f"Python {platform.python_version()} at {sys.executable}")


def _venv_module() -> Finding:
    done = subprocess.run([sys.executable, "-c", "import venv, ensurepip"], capture_output=True, check=False)
    if done.returncode == 0:
        return Finding("ok", "the venv module is there")
    return Finding("error", "Python's venv module is missing", "apt-get install python3.11-venv")


def _disk() -> Finding:
    free_gb = shutil.disk_usage(ROOT).free / 1e9
    words = f"{free_gb:.0f} GB free on the disk of {ROOT}"
    if free_gb >= _SETUP_DISK_GB or all(e.up_to_date() for e in environments(accelerator())):
        return Finding("ok", words)
    return Finding("error", f"{words}, the environments need {_SETUP_DISK_GB}", "free some space")


def _memory() -> Finding:
    total_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    words = f"{total_gb:.0f} GB of memory, {os.cpu_count()} processors"
    if total_gb >= _MEMORY_GB:
        return Finding("ok", words)
    return Finding("warning", f"{words}; the default model wants {_MEMORY_GB} GB", "use a bigger machine")


def _tcmalloc() -> Finding:
    if tcmalloc_installed():
        return Finding("ok", "libtcmalloc-minimal4 is installed")
    return Finding("warning", "libtcmalloc-minimal4 is missing", "sudo apt-get install libtcmalloc-minimal4")


def _port() -> Finding:
    settings = make_variables.read()
    problem = problem_with(settings.BIND, int(settings.PORT))
    where = f"port {settings.PORT} on {settings.BIND}"
    if problem is None:
        return Finding("ok", f"{where} is free")
    mend = "make status shows whether it is ours; otherwise use make up PORT=…"
    return Finding("warning", f"{where}: {problem}", mend)


def _environments() -> list[Finding]:
    accel = accelerator()
    found = [Finding("ok", f"accelerator: {accel}")]
    for environment in environments(accel):
        where = f".venvs/{environment.name}"
        if environment.up_to_date():
            found.append(Finding("ok", f"{where} is up to date"))
        else:
            state = "is from other pins" if environment.python.exists() else "is not made yet"
            found.append(Finding("warning", f"{where} {state}", "make setup"))
    return found


def main() -> int:
    """Print every finding; return 1 when one of them stops `make up`."""
    found = [_python(), _venv_module(), _disk(), _memory(), _tcmalloc(), _port(), *_environments()]
    colours = {"ok": "green", "warning": "yellow", "error": "red"}
    for finding in found:
        mend = f"  → {finding.mend}" if finding.mend else ""
        say(f"  {paint(f'{finding.level:<8}', colours[finding.level])} {finding.what}{mend}")
    failed = any(finding.level == "error" for finding in found)
    deeper = program("serving", "serving", "doctor")
    if (VENVS / "serving" / "quantserve.json").exists():
        failed |= run_program(deeper).returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    run_main(main)
