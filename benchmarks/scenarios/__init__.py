"""The questions, each a scenario: it measures cells into a run and adds sections of its own to the report.

In: options, and a server or what to start. Out: a run directory. The sections are computed from the run's
files, so that `benchmarks report RUN` makes them again: SECTIONS names who makes those of which scenario.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # at run time a corpus is measured below this package, and its memory with it
    from quantserve.benchmarks.report.documents import SectionMaker

SECTIONS = {
    "latency": "one_server",
    **{
        name: name
        for name in ("batching", "quant", "features", "peers", "crosscheck", "serving", "guard", "soak")
    },
    "rag": "rag.stages",
    "retrieval": "rag.retrieval",
}
"""Scenario → the module below this one whose `sections` it has; `run` has none."""


def sections_of(scenario: str) -> SectionMaker | None:
    """The maker of a scenario's own sections; None when it has none."""
    if scenario not in SECTIONS:
        return None
    maker: SectionMaker = importlib.import_module(f"{__name__}.{SECTIONS[scenario]}").sections
    return maker
