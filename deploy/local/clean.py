"""Remove generated files. Run as: make clean, make distclean"""

from __future__ import annotations

import sys
from pathlib import Path

from quantserve.core.files import remove_tree
from quantserve.deploy.local.environments import HOME, ROOT, VENVS
from quantserve.deploy.local.stages import program, run_program
from quantserve.deploy.local.terminal import run_main, say

GENERATED = ("artifacts", "run", "runs")
CACHES = (".pytest_cache", ".mypy_cache", ".ruff_cache")


def main(everything: bool) -> None:
    """Stop what runs, then remove what was generated; sources are never touched."""
    down = program("serving", "serving", "down")
    if (HOME / "run" / "serving.json").exists() and Path(down[0]).exists():
        run_program(down)
    paths = [HOME / name for name in GENERATED] + [ROOT / name for name in CACHES]
    for path in paths + ([HOME / "models", VENVS] if everything else []):
        if path.exists():
            remove_tree(path)
            say(f"  removed {path}")


if __name__ == "__main__":
    run_main(lambda: main("--all" in sys.argv[1:]))
