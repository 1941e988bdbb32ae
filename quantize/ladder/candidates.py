"""Which candidates there are for a model and a machine, from the cheapest to the costliest. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Prefer = Literal["speed", "memory"]
PREFERENCES: tuple[Prefer, ...] = ("speed", "memory")
GROUP_SIZES = (128, 64, 32)
SHARES = (0.1, 0.25)
"""Of the layers, how many get 8 bits: first a tenth, then a quarter."""


@dataclass(frozen=True)
class Candidate:
    """One step: a method with its options. `keep_share` of the layers, the worst ones, get 8 bits."""

    method: str
    options: dict[str, Any] = field(default_factory=dict)
    keep_share: float = 0.0
    note: str = ""

    @property
    def label(self) -> str:
        """A short name for tables."""
        words = [self.method]
        if "group_size" in self.options:
            words.append(f"group {self.options['group_size']}")
        if self.note:
            words.append(self.note)
        if self.keep_share:
            words.append(f"worst {self.keep_share:.0%} in 8 bits")
        return ", ".join(words)


def fitting_groups(input_sizes: Collection[int]) -> tuple[int, ...]:
    """Return the group sizes that divide every layer's input size, the largest first."""
    return tuple(size for size in GROUP_SIZES if all(inner % size == 0 for inner in input_sizes))


def candidates(
    methods: Collection[str], input_sizes: Collection[int], target: str, prefer: Prefer | None
) -> tuple[Candidate, ...]:
    """Return the steps in the order in which they are tried.

    methods: those that are registered. input_sizes: of all linear layers. target: cpu or cuda.
    Cheap to make comes first: rounding takes seconds, AWQ and GPTQ pass text through the model, 8 bits
    in the worst layers needs the sensitivity pass as well. 8 bits everywhere comes last, for it saves
    half as much, unless speed is preferred: 8-bit activations are what makes a batch faster.
    """
    groups = fitting_groups(input_sizes)
    four: list[Candidate] = []
    if groups:
        four = [Candidate(name, {"group_size": groups[0]}) for name in ("rtn", "awq", "gptq")]
        four += [
            Candidate(name, {"group_size": size}) for size in groups[1:] for name in ("rtn", "awq", "gptq")
        ]
        four += [Candidate("gptq", {"group_size": groups[-1]}, share) for share in SHARES]
    eight = [
        Candidate("int8", {"smoothing": 0.0, "feedback": False}, note="rounded"),
        Candidate("int8", {"feedback": False}, note="smoothed"),
        Candidate("int8", note="smoothed, with feedback"),
    ]
    if target == "cuda":
        eight = [Candidate("fp8"), *eight]
    ordered = [*eight, *four] if prefer == "speed" else [*four, *eight]
    return tuple(one for one in ordered if one.method in methods)


def worst_layers(losses: Sequence[float], share: float) -> tuple[int, ...]:
    """Return the numbers of the layers that lose most, `share` of all, at least one."""
    count = max(1, math.ceil(share * len(losses)))
    ranked = sorted(range(len(losses)), key=lambda layer: (-losses[layer], layer))
    return tuple(sorted(ranked[:count]))


def with_kept(candidate: Candidate, losses: Sequence[float]) -> dict[str, Any]:
    """Return the candidate's options with the worst layers in 8 bits."""
    keep = tuple(f"layers.{layer}=8" for layer in worst_layers(losses, candidate.keep_share))
    return {**candidate.options, "keep": keep}
