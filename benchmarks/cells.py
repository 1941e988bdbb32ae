"""A run is a list of cells: one subject under one load with one workload, once."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Cell:
    """What was measured once. Cells that differ in `repeat` alone make one point."""

    id: str
    subject: str
    """What is compared: a server, an artifact, a batching way, a feature switched on."""
    workload: str
    load: str
    """As load.spec writes it: closed:8, poisson:4.5 …"""
    repeat: int
    users: int | None
    rate_per_s: float | None
    started_s: float
    ended_s: float
    client_cpu_share: float | None
    processes: int
    """Load processes; 0: asked by threads of the program that is measured."""
    seed: int
    shared_tokens: int = 0
    single_turn: bool = True
    exact_tokens: bool = True
    new_prompts: bool = False
    """The prompts were drawn for this run: no server can have seen them before."""
    server: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What started it: argv, environment, ready seconds, artifact."""

    @property
    def point(self) -> tuple[str, str, str]:
        """Cells with the same key are repeats of each other."""
        return self.subject, self.workload, self.load
