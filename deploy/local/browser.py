"""Chromium for the tests of the web page. Run as: python3.11 -m quantserve.deploy.local.browser

Debian's package is installed where that is allowed; elsewhere a line says what is missing, and the tests
that need the browser fail with the same line.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from quantserve.deploy.local.terminal import run_main, say, warn

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_MEND = "apt-get install chromium (the web page is tested in it)"
_TIMEOUT_S = 600


def find_browser() -> str | None:
    """Return the path of a browser that the tests can drive."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


def provide_browser() -> bool:
    """Install Chromium when there is none and we may; return whether there is one now."""
    if find_browser() is not None:
        return True
    if os.geteuid() != 0 or not Path("/usr/bin/apt-get").exists():
        warn(f"Chromium is not installed; mend: sudo {_MEND}")
        return False
    say("installing Chromium for the tests of the web page")
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], install):
        done = subprocess.run(
            command, check=False, timeout=_TIMEOUT_S, capture_output=True, text=True, env=environment
        )
        if done.returncode != 0:
            said = done.stderr.strip().splitlines()
            warn(
                f"Chromium could not be installed ({said[-1] if said else 'no reason given'}); mend: {_MEND}"
            )
            return False
    return find_browser() is not None


def main() -> None:
    """Install it where that is allowed; tests that need it say so where it is not."""
    provide_browser()


if __name__ == "__main__":
    run_main(main)
