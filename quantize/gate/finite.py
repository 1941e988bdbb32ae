"""Are all weights numbers? From the files, since an engine may hide it.

An eight-bit kernel turns what is no number into an integer before it multiplies, so on one processor a NaN
passes for a zero, and on the next it fills every answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

# What stands in the exponent of infinity and NaN, by the type's name in safetensors. In F8_E4M3 only the
# pattern of all ones is no number (OCP 8-bit floating point specification, 2023).
_EXPONENTS: dict[str, tuple[type[np.unsignedinteger[Any]], int]] = {
    "F64": (np.uint64, 0x7FF0_0000_0000_0000),
    "F32": (np.uint32, 0x7F80_0000),
    "F16": (np.uint16, 0x7C00),
    "BF16": (np.uint16, 0x7F80),
    "F8_E5M2": (np.uint8, 0x7C),
    "F8_E4M3": (np.uint8, 0x7F),
}
_CHUNK_BYTES = 32 << 20


def not_finite(directory: Path) -> tuple[str, ...]:
    """Return the names of tensors in a checkpoint's safetensors files that hold an infinity or a NaN.

    The files were checked before; only what is stored in floating point is read.
    """
    return tuple(
        name
        for path in sorted(directory.glob("*.safetensors"))
        for name, entry, start in _entries(path)
        if entry["dtype"] in _EXPONENTS and _holds_no_number(path, entry, start)
    )


def _entries(path: Path) -> Iterator[tuple[str, dict[str, Any], int]]:
    """Yield each tensor's name, header entry, and where in the file its data begins."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    for name, entry in header.items():
        if name != "__metadata__":
            yield name, entry, 8 + length + entry["data_offsets"][0]


def _holds_no_number(path: Path, entry: dict[str, Any], start: int) -> bool:
    kind, mask = _EXPONENTS[entry["dtype"]]
    count = (entry["data_offsets"][1] - entry["data_offsets"][0]) // np.dtype(kind).itemsize
    step = _CHUNK_BYTES // np.dtype(kind).itemsize
    for first in range(0, count, step):
        offset = start + first * np.dtype(kind).itemsize
        # read, not mapped: a mapping of an odd offset would not be aligned
        words = np.fromfile(path, dtype=kind, count=min(step, count - first), offset=offset)
        if bool(((words & kind(mask)) == kind(mask)).any()):
            return True
    return False
