"""`quantserve doctor`: what this machine can do, each finding with its mend.

Works before any other environment exists; once the serving environment is there its own, deeper findings
(instruction sets that really run, dtype speeds, GPUs) follow.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from quantserve.core.console import console, styled
from quantserve.core.home import environments
from quantserve.deploy.local.environments import accelerator, environments_for, tcmalloc_installed
from quantserve.deploy.local.options import UpOptions
from quantserve.deploy.local.port import problem_with
from quantserve.deploy.local.stages import program, run_program

_SETUP_DISK_GB = 14
_MEMORY_GB = 8


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `level` is ok, warning or error, and an error stops `up`."""

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


def _disk(accel: str) -> Finding:
    folder = environments()
    standing = next(path for path in (folder, *folder.parents) if path.exists())
    free_gb = shutil.disk_usage(standing).free / 1e9
    words = f"{free_gb:.0f} GB free on the disk of {standing}"
    if free_gb >= _SETUP_DISK_GB or all(e.up_to_date() for e in environments_for(accel)):
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


def _port(options: UpOptions) -> Finding:
    problem = problem_with(options.host, options.port)
    where = f"port {options.port} on {options.host}"
    if problem is None:
        return Finding("ok", f"{where} is free")
    mend = "quantserve status shows whether it is ours; otherwise use quantserve up --port …"
    return Finding("warning", f"{where}: {problem}", mend)


def _environments(accel: str) -> list[Finding]:
    found = [Finding("ok", f"accelerator: {accel}")]
    for environment in environments_for(accel):
        where = str(environment.path)
        if environment.up_to_date():
            found.append(Finding("ok", f"{where} is up to date"))
        else:
            state = "is from other pins" if environment.python.exists() else "is not made yet"
            found.append(Finding("warning", f"{where} {state}", "quantserve setup"))
    return found


def examine(options: UpOptions) -> int:
    """Print every finding; return 1 when one of them stops `up`."""
    accel = accelerator(options.accel)
    found = [_python(), _venv_module(), _disk(accel), _memory(), _tcmalloc(), _port(options)]
    found += _environments(accel)
    colours = {"ok": "green", "warning": "yellow", "error": "red"}
    for finding in found:
        mend = f"  → {finding.mend}" if finding.mend else ""
        level = (f"{finding.level:<8}", colours[finding.level])
        console.print(styled("  ", level, f" {finding.what}{mend}"), soft_wrap=True)
    failed = any(finding.level == "error" for finding in found)
    deeper = program("serving", "doctor")
    if Path(deeper[0]).exists():
        failed |= run_program(deeper).returncode != 0
    return 1 if failed else 0
