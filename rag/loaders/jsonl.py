"""JSON lines: one object a line, as data sets come."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from quantserve.rag.errors import UnreadableDocument
from quantserve.rag.loaders.document import Sections, Warn
from quantserve.rag.loaders.encoding import open_text
from quantserve.rag.loaders.rows import record_sections

_MAX_LINE_CHARACTERS = 16 << 20


def sections(path: Path, warn: Warn) -> Sections:
    """Read JSON lines; lines that hold no object are counted in a warning."""
    yield from record_sections(_objects(path, warn))


def _objects(path: Path, warn: Warn) -> Iterator[dict[str, Any]]:
    bad: list[int] = []
    with open_text(path) as stream:
        number = 0
        while line := stream.readline(_MAX_LINE_CHARACTERS):
            number += 1
            if len(line) == _MAX_LINE_CHARACTERS and not line.endswith("\n"):
                raise UnreadableDocument(
                    f"{path.name}: line {number} is longer than {_MAX_LINE_CHARACTERS:,} characters",
                    mend="Write one object a line",
                )
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            if isinstance(value, dict):
                yield value
            else:
                bad.append(number)
    if bad:
        warn(f"{len(bad)} of {number} lines hold no JSON object (first: line {bad[0]})")
