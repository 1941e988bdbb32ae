"""The work folder of a run, artifacts/NAME/.work-VERSION: a killed run leaves its finished stages there."""

from __future__ import annotations

import json
from pathlib import Path
from time import time
from typing import Any

from quantserve.core.files import remove_tree

CHECKPOINT = "checkpoint"
RESULT = "result.json"
_PREFIX = ".work-"
_STALE_S = 7 * 24 * 3600


def work_folder(directory: Path) -> Path:
    """Return the work folder of an artifact directory, made if it is not there."""
    folder = directory.with_name(f"{_PREFIX}{directory.name}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def finished_result(folder: Path) -> dict[str, Any] | None:
    """Return what the worker said of a checkpoint that is finished, or None."""
    if not (folder / CHECKPOINT).is_dir():
        return None
    found: dict[str, Any] = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    return found


def tidy(folder: Path) -> None:
    """After a run that failed: half-written parts go, and the folder itself where no stage was finished."""
    for part in folder.glob("*.part"):
        remove_tree(part)
    if not any(folder.iterdir()):
        folder.rmdir()


def sweep(home: Path, keep: Path) -> None:
    """Remove what killed runs of any version left under artifacts/NAME; the caller holds its lock.

    Staging directories go at once, work folders of other versions after a week: until then the run that
    left one may go on.
    """
    for stale in home.glob(".*.staging-*"):
        if not Path(f"/proc/{stale.name.rpartition('-')[2]}").exists():
            remove_tree(stale)
    for folder in home.glob(f"{_PREFIX}*"):
        if folder != keep and time() - folder.stat().st_mtime > _STALE_S:
            remove_tree(folder)
