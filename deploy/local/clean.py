"""`quantserve deploy clean`: remove generated files."""

from __future__ import annotations

from pathlib import Path

from quantserve.core.console import console
from quantserve.core.files import remove_tree
from quantserve.core.home import CHECKOUT, command_home, environments
from quantserve.deploy.local.stages import program, run_program

GENERATED = ("artifacts", "run", "runs")
CACHES = (".pytest_cache", ".mypy_cache", ".ruff_cache")


def clean(everything: bool) -> None:
    """Stop what runs, then remove what was generated; sources are never touched."""
    home = command_home()
    down = program("serving", "down")
    if (home / "run" / "serving.json").exists() and Path(down[0]).exists():
        run_program(down)
    paths = [home / name for name in GENERATED] + ([CHECKOUT / name for name in CACHES] if CHECKOUT else [])
    for path in paths + ([home / "models", environments()] if everything else []):
        if path.exists():
            remove_tree(path)
            console.print(f"  removed {path}")
