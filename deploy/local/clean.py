"""Remove generated files. Run as: make clean, make distclean"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from core.files import remove_tree
from deploy.local.environments import ROOT
from deploy.local.stages import program
from deploy.local.terminal import say

GENERATED = ("artifacts", "run", "runs", ".pytest_cache", ".mypy_cache", ".ruff_cache")
COSTLY = ("models", ".venvs")


def main(everything: bool) -> None:
    """Stop what runs, then remove what was generated; sources are never touched."""
    down = program("serving", "serving", "down")
    if (ROOT / "run" / "serving.json").exists() and Path(down[0]).exists():
        subprocess.run(down, cwd=ROOT, check=False)
    for name in GENERATED + (COSTLY if everything else ()):
        if (ROOT / name).exists():
            remove_tree(ROOT / name)
            say(f"  removed {name}/")


if __name__ == "__main__":
    main("--all" in sys.argv[1:])
