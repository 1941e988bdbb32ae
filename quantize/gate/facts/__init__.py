"""Short questions and instructions with a checkable answer, in English and Korean, in two sets.

In: nothing; the sets ship as `verdict.jsonl` and `tuning.jsonl` beside this file and share no fact. Out:
prompts, and whether an answer to one is right. `verdict` belongs to the gate alone: no recipe, calibration
text or threshold may be chosen by it. `tuning` is for whoever searches a recipe (`quantize/gate/tuning.py`).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal, get_args

SetName = Literal["verdict", "tuning"]
SETS: tuple[SetName, ...] = get_args(SetName)
Rule = Literal["contains", "exact", "number", "every", "order", "pattern"]


@dataclass(frozen=True)
class Fact:
    """One prompt and what answers it; `checking.is_right` says how the rules read.

    reject: strings that must not stand before an accepted one, such as the other choice.
    """

    id: str
    language: str
    kind: str
    question: str
    rule: Rule
    accept: tuple[str, ...]
    reject: tuple[str, ...]


@functools.cache
def facts(name: SetName) -> tuple[Fact, ...]:
    """Return a set in the file's order."""
    text = resources.files(__name__).joinpath(f"{name}.jsonl").read_text(encoding="utf-8")
    return tuple(_fact(json.loads(line)) for line in text.splitlines())


def _fact(row: dict[str, object]) -> Fact:
    listed = {key: tuple(value) for key, value in row.items() if isinstance(value, list)}
    return Fact(**{"reject": (), **row, **listed})  # type: ignore[arg-type]


def verdict_facts(languages: Sequence[str], count: int | None = None) -> tuple[Fact, ...]:
    """Return the gate's own prompts in these languages: all, or `count` of them, evenly spread."""
    some = [fact for fact in facts("verdict") if fact.language in languages]
    count = len(some) if count is None else min(count, len(some))
    return tuple(some[i * len(some) // count] for i in range(count))
