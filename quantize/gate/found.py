"""What a gate run found, kept in `run/gate-cache/found/`: other limits judge it again without an engine.

One JSON file for each measurement, named by `keys.found_key`, which knows everything but the limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from quantserve.core.files import write_bytes
from quantserve.quantize.gate.verdict import Findings

_KEPT = 32


@dataclass(frozen=True)
class Found:
    """A finished measurement of base and candidate, ready to be judged."""

    findings: Findings
    base: dict[str, Any]
    """The report's `base` and `candidate`: facts and costs of each engine."""
    candidate: dict[str, Any]
    arrangement: str
    """Why the engines ran side by side or took turns."""


_FOUND = TypeAdapter(Found)


def load(folder: Path, key: str) -> Found | None:
    """Return an entry, or None when there is none or it cannot be read; then it is measured again."""
    try:
        return _FOUND.validate_json((folder / f"{key}.json").read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def store(folder: Path, key: str, found: Found) -> None:
    """Write an entry and forget all but the newest."""
    write_bytes(folder / f"{key}.json", _FOUND.dump_json(found, indent=1))
    entries = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for entry in entries[_KEPT:]:
        entry.unlink(missing_ok=True)
