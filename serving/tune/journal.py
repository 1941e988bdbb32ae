"""What a search has settled so far, a line each, so that an interrupted one goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from quantserve.serving.tune.decide import gain
from quantserve.serving.tune.search import Comparison
from quantserve.serving.tune.space import Changes
from quantserve.serving.tune.write import from_json, to_json


class Journal:
    """Comparisons by candidate and incumbent. The first line says what they belong to."""

    def __init__(self, path: Path, circumstances: dict[str, Any]) -> None:
        """Read what is there; a journal of other circumstances is begun anew."""
        self._path = path
        self._known: dict[str, Comparison] = {}
        head, *rest = _lines(path) or [None]
        if head == circumstances:
            for row in rest:
                one = from_json(row["comparison"], gain)
                self._known[_key(row["kind"], one.candidate, one.incumbent)] = one
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(circumstances) + "\n", encoding="utf-8")

    def __len__(self) -> int:
        """How many comparisons are settled."""
        return len(self._known)

    def get(self, kind: str, candidate: Changes, incumbent: Changes) -> Comparison | None:
        """Return a settled comparison."""
        return self._known.get(_key(kind, candidate, incumbent))

    def add(self, kind: str, one: Comparison) -> None:
        """Settle one. The line is written at once; half a line of a killed process is ignored later."""
        self._known[_key(kind, one.candidate, one.incumbent)] = one
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"kind": kind, "comparison": to_json(one)}) + "\n")

    def remove(self) -> None:
        """The search is over."""
        self._path.unlink(missing_ok=True)


def _key(kind: str, candidate: Changes, incumbent: Changes) -> str:
    return json.dumps([kind, candidate, incumbent], sort_keys=True)


def _lines(path: Path) -> list[Any]:
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    whole = text[: text.rfind("\n") + 1]
    return [json.loads(line) for line in whole.splitlines()]
