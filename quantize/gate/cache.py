"""What was measured, cached in `run/gate-cache/`: the base's view of the text, and whole measurements.

KEY.npz holds log-probabilities, KEY.json the answers and is written last: without it there is no entry.
KEY-float32.json holds what the base answers in float32, the noise floor; it has no log-probabilities.
measurements/KEY.json is a measurement of both, which other limits judge again without an engine.
An entry that cannot be read is as good as none: it is measured again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from quantserve.core.files import write_bytes
from quantserve.quantize.gate.judge.verdict import Findings
from quantserve.quantize.gate.measure.figures import pack_passages, unpack_passages
from quantserve.quantize.gate.measure.requests import EngineReplies, ModelView

_T = TypeVar("_T")
_MOST_VIEWS = 16
_MOST_MEASUREMENTS = 32
_REPLIES = TypeAdapter(EngineReplies)


@dataclass(frozen=True)
class PairMeasurement:
    """A finished measurement of base and candidate, ready to be judged."""

    findings: Findings
    base: dict[str, Any]
    """The report's `base` and `candidate`: facts and costs of each engine."""
    candidate: dict[str, Any]
    arrangement: str
    """Why the engines ran side by side or took turns."""


_PAIRS = TypeAdapter(PairMeasurement)


def load_view(folder: Path, key: str) -> ModelView | None:
    """Return a base's view, or None."""
    try:
        replies = _REPLIES.validate_json((folder / f"{key}.json").read_bytes())
        return ModelView(replies, unpack_passages((folder / f"{key}.npz").read_bytes()))
    except (FileNotFoundError, ValidationError, ValueError, KeyError, OSError):
        return None


def store_view(folder: Path, key: str, view: ModelView) -> None:
    """Write a base's view and forget all but the newest few."""
    write_bytes(folder / f"{key}.npz", pack_passages(view.passages))
    store_replies(folder / f"{key}.json", view.replies)


def load_replies(path: Path) -> EngineReplies | None:
    """Return what an engine answered, or None."""
    return _load(path, _REPLIES)


def store_replies(path: Path, replies: EngineReplies) -> None:
    """Write what an engine answered and forget all but the newest few."""
    _store(path, _REPLIES.dump_json(replies, indent=1), _MOST_VIEWS)


def load_measurement(folder: Path, key: str) -> PairMeasurement | None:
    """Return a measurement of both, or None."""
    return _load(folder / "measurements" / f"{key}.json", _PAIRS)


def store_measurement(folder: Path, key: str, found: PairMeasurement) -> None:
    """Write a measurement of both and forget all but the newest."""
    _store(folder / "measurements" / f"{key}.json", _PAIRS.dump_json(found, indent=1), _MOST_MEASUREMENTS)


def _load(path: Path, kind: TypeAdapter[_T]) -> _T | None:
    try:
        return kind.validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _store(path: Path, data: bytes, most: int) -> None:
    write_bytes(path, data)
    entries = sorted(path.parent.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for entry in entries[most:]:
        entry.unlink(missing_ok=True)
        entry.with_suffix(".npz").unlink(missing_ok=True)
