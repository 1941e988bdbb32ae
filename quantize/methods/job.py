"""One quantization as the worker gets it, and the folder in which a killed one leaves its finished stages.

artifacts/NAME/.work-VERSION is that folder; the next run of the same version goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import time
from typing import Any

from quantserve.core.files import remove_tree
from quantserve.quantize.calibration.documents import Group

# Report one event; keys besides "event" are the event's own.
Report = Callable[..., None]
CHECKPOINT = "checkpoint"
RESULT = "result.json"
_PREFIX = ".work-"
_STALE_S = 7 * 24 * 3600


@dataclass(frozen=True)
class QuantizationJob:
    """One quantization: `options` are those of the method's dataclass.

    structure: what the checkpoint's matrices are, as `quantize.models.structure` writes it.
    work: a folder whose finished stages a killed run left; output: the directory to appear in it.
    wide: the base has values that float16 cannot hold.
    """

    model: str
    work: str
    output: str
    method: str
    options: dict[str, Any]
    groups: list[Group]
    sequences: int
    sequence_tokens: int
    seed: int
    structure: dict[str, Any]
    adapter: str | None = None
    wide: bool = False

    @property
    def model_dir(self) -> Path:
        """The base checkpoint."""
        return Path(self.model)

    @property
    def work_dir(self) -> Path:
        """Where stages are kept."""
        return Path(self.work)

    @property
    def output_dir(self) -> Path:
        """Where the weights and the configuration go."""
        return Path(self.output)

    def to_dict(self) -> dict[str, Any]:
        """Return the job as plain JSON values."""
        value: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return value


def work_folder(directory: Path) -> Path:
    """Return the work folder of an artifact directory, made if it is not there."""
    folder = directory.with_name(f"{_PREFIX}{directory.name}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def finished_result(folder: Path) -> dict[str, Any] | None:
    """Return what the worker said of a checkpoint that is finished, or None."""
    if not (folder / CHECKPOINT).is_dir():
        return None
    result: dict[str, Any] = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    # A run that an earlier version began called it otherwise.
    return {"unquantized" if name == "kept" else name: value for name, value in result.items()}


def tidy_work_folder(folder: Path) -> None:
    """After a run that failed: half-written parts go, and the folder itself where no stage was finished."""
    for part in folder.glob("*.part"):
        remove_tree(part)
    if not any(folder.iterdir()):
        folder.rmdir()


def remove_leftovers(home: Path, current: Path) -> None:
    """Remove what killed runs of any version left under artifacts/NAME; the caller holds its lock.

    Staging directories go at once, work folders of other versions after a week: until then the run that
    left one may go on.
    """
    for stale in home.glob(".*.staging-*"):
        if not Path(f"/proc/{stale.name.rpartition('-')[2]}").exists():
            remove_tree(stale)
    for folder in home.glob(f"{_PREFIX}*"):
        if folder != current and time() - folder.stat().st_mtime > _STALE_S:
            remove_tree(folder)
