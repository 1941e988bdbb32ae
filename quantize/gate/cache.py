"""The base's measurement, kept in `run/gate-cache/` so that a second gate run needs only the candidate.

KEY.npz holds the log-probabilities, KEY.json the rest and is written last: without it there is no entry.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from core.files import write_bytes
from quantize.gate.measure import Facts, Measured
from quantize.gate.scores import pack, unpack

_FACTS = TypeAdapter(Facts)
_KEPT = 8


def load(folder: Path, key: str) -> Measured | None:
    """Return an entry, or None when there is none or it cannot be read; then it is measured again."""
    try:
        facts = _FACTS.validate_json((folder / f"{key}.json").read_bytes())
        return Measured(facts, unpack((folder / f"{key}.npz").read_bytes()))
    except (FileNotFoundError, ValidationError, ValueError, KeyError, OSError):
        return None


def store(folder: Path, key: str, measured: Measured) -> None:
    """Write an entry and forget all but the newest few."""
    write_bytes(folder / f"{key}.npz", pack(measured.passages))
    write_bytes(folder / f"{key}.json", _FACTS.dump_json(measured.facts, indent=1))
    entries = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for entry in entries[_KEPT:]:
        entry.unlink(missing_ok=True)
        entry.with_suffix(".npz").unlink(missing_ok=True)
