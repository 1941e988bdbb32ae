"""The base's view of the text, kept in `run/gate-cache/`: it is the same at each gate run, its speed is not.

KEY.npz holds the log-probabilities, KEY.json the answers and is written last: without it there is no entry.
KEY-float32.json holds what the base answers in float32, the noise floor; it has no log-probabilities.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from quantserve.core.files import write_bytes
from quantserve.quantize.gate.measure import Said, View
from quantserve.quantize.gate.scores import pack, unpack

_SAID = TypeAdapter(Said)
_KEPT = 16


def load(folder: Path, key: str) -> View | None:
    """Return an entry, or None when there is none or it cannot be read; then it is measured again."""
    try:
        said = _SAID.validate_json((folder / f"{key}.json").read_bytes())
        return View(said, unpack((folder / f"{key}.npz").read_bytes()))
    except (FileNotFoundError, ValidationError, ValueError, KeyError, OSError):
        return None


def load_said(path: Path) -> Said | None:
    """Return what an engine said, or None when it is not kept or cannot be read."""
    try:
        return _SAID.validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def store(folder: Path, key: str, view: View) -> None:
    """Write an entry and forget all but the newest few."""
    write_bytes(folder / f"{key}.npz", pack(view.passages))
    store_said(folder / f"{key}.json", view.said)


def store_said(path: Path, said: Said) -> None:
    """Write what an engine said and forget all but the newest few."""
    write_bytes(path, _SAID.dump_json(said, indent=1))
    folder = path.parent
    entries = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for entry in entries[_KEPT:]:
        entry.unlink(missing_ok=True)
        entry.with_suffix(".npz").unlink(missing_ok=True)
