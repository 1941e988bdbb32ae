"""`quantserve setup`: bring every environment up to date."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from quantserve.core.console import console, emit_json, styled
from quantserve.core.files import exclusive_lock, require_disk_space
from quantserve.core.home import environments
from quantserve.deploy.local.environments import accelerator, environments_for, tcmalloc_installed
from quantserve.deploy.local.install import bootstrap_uv, describe_engine, install, install_project


def setup(accel: str) -> bool:
    """Make what is not up to date; a line for each. Return whether anything was made.

    Raises:
        UsageError: the accelerator is unknown.
        ResourceError: the disk is too full.
        SetupError: an installation failed.
    """
    wanted = environments_for(accelerator(accel))
    provide_tcmalloc()
    todo = [environment for environment in wanted if not environment.up_to_date()]
    for environment in wanted:
        if environment not in todo:  # made before this was known
            describe_engine(environment)
    if not todo:
        return False
    folder = environments()
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(folder / ".lock", "quantserve setup"):
        new = [environment for environment in todo if not environment.has_its_pins()]
        require_disk_space(folder, int(sum(e.disk_gb for e in new) * 1e9), "Installing the environments")
        uv = bootstrap_uv()
        for environment in todo:
            started = time.perf_counter()
            (install if environment in new else install_project)(uv, environment)
            seconds = time.perf_counter() - started
            console.print(styled("  ", ("made", "green"), f" {environment.path} {seconds:6.1f} s"))
    return True


def run_setup(accel: str) -> None:
    """Bring the environments up to date, and end with a line for programs."""
    emit_json({"status": "made" if setup(accel) else "unchanged"})


def provide_tcmalloc() -> None:
    """Install Debian's tcmalloc when allowed to; without it the engine is slower, so only warn."""
    if tcmalloc_installed():
        return
    mend = "apt-get install libtcmalloc-minimal4 (the quantizers and the engine free memory faster with it)"
    if os.geteuid() != 0 or not Path("/usr/bin/apt-get").exists():
        _warn(f"libtcmalloc-minimal4 is not installed; mend: sudo {mend}")
        return
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "libtcmalloc-minimal4"],
    ):
        if subprocess.run(command, check=False, timeout=300, capture_output=True).returncode != 0:
            _warn(f"libtcmalloc-minimal4 could not be installed; mend: {mend}")
            return


def _warn(text: str) -> None:
    console.print(styled(("warning:", "yellow"), f" {text}"), soft_wrap=True)
