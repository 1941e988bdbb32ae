"""The figures to reach on the default model and two cores, and which of them a measurement meets. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from quantserve.quantize.ladder.decide import Step

GIB = 1 << 30


@dataclass(frozen=True)
class Met:
    """One target: what was asked, the figure that comes closest, and whether it meets it (None: unknown)."""

    target: str
    figure: str
    met: bool | None


def check_targets(steps: Sequence[Step]) -> tuple[Met, ...]:
    """Hold measured steps against the targets."""
    four = [step for step in steps if step.candidate.method in ("gptq", "awq") and step.measured]
    best = min(four, key=lambda step: _known(step.ppl_increase), default=None)
    eight = [step for step in steps if step.candidate.method == "int8" and step.measured]
    int8 = min(eight, key=lambda step: _known(step.ppl_increase), default=None)
    peak = max((step.peak_memory_bytes or 0 for step in steps), default=0)
    return (
        _seconds(steps, "gptq", 90),
        _seconds(steps, "awq", 180),
        _held("peak memory under 4 GiB", peak / GIB if peak else None, "most", 4.0, "{:.2f} GiB"),
        _held(
            "best 4-bit recipe at most +8 % perplexity",
            best.ppl_increase if best else None,
            "most",
            0.08,
            "{:+.1%}" + (f" ({best.candidate.label})" if best else ""),
        ),
        _held(
            "best 4-bit recipe at least 85 % top-1 agreement",
            best.top1_agreement if best else None,
            "least",
            0.85,
            "{:.1%}",
        ),
        _held(
            "INT8 at most +1.5 % perplexity",
            int8.ppl_increase if int8 else None,
            "most",
            0.015,
            "{:+.1%}" + (f" ({int8.candidate.label})" if int8 else ""),
        ),
        _held(
            "INT8 not slower than 16 bits at 32 concurrent",
            int8.speeds.get(32) if int8 else None,
            "least",
            1.0,
            "×{:.2f}",
        ),
    )


def _seconds(steps: Sequence[Step], method: str, limit: float) -> Met:
    times = [step.seconds for step in steps if step.candidate.method == method and step.seconds is not None]
    title = f"{method.upper()} within {limit:.0f} s"
    return _held(title, max(times, default=None), "most", limit, "{:.0f} s")


def _held(target: str, value: float | None, way: Literal["most", "least"], limit: float, form: str) -> Met:
    if value is None:
        return Met(target, "not measured", None)
    return Met(target, form.format(value), value <= limit if way == "most" else value >= limit)


def _known(value: float | None) -> float:
    return float("inf") if value is None else value
