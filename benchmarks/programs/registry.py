"""Which sections belong to which program's report."""

from __future__ import annotations

import importlib

from quantserve.benchmarks.report.write import SectionMaker

_PROGRAMS = {
    name: f"quantserve.benchmarks.programs.{name}"
    for name in (
        *("latency", "batching", "quant", "features", "peers", "crosscheck"),
        *("serving", "guard", "soak", "retrieval"),
    )
} | {"rag": "quantserve.benchmarks.programs.rag_report"}


def sections_of(program: str) -> SectionMaker | None:
    """The maker of a program's own sections; None when it has none."""
    if program not in _PROGRAMS:
        return None
    maker: SectionMaker = importlib.import_module(_PROGRAMS[program]).sections
    return maker
