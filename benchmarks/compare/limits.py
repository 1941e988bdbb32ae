"""Limits as text: `ttft_p95>+10%` (worse by more than), `output_tps<-5%`, `e2e_p99>2s`, `failure_share>1%`.

A sign before the number means a change from A to B; no sign means B's own value.
"""

from __future__ import annotations

import dataclasses
import re

from quantserve.benchmarks.errors import BadOption

LATENCIES = ("ttft", "tpot", "itl", "e2e", "response")
RATES = ("output_tps", "total_tps", "requests_ps", "goodput_ps")
METRICS = (
    *RATES,
    "failure_share",
    *(f"{name}_{q}" for name in LATENCIES for q in ("mean", "p50", "p90", "p95", "p99")),
)
_FORM = re.compile(r"^\s*([a-z0-9_]+)\s*([<>])\s*([+-]?)([0-9]*\.?[0-9]+)\s*(%|ms|s)?\s*$")


@dataclasses.dataclass(frozen=True)
class Limit:
    """One demand on run B; it is broken when the metric is `above` (or below) `bound`."""

    metric: str
    above: bool
    bound: float
    """A share (0.1 for 10 %) when `relative`, else the metric's own unit (seconds, shares, per second)."""
    relative: bool
    text: str

    def broken_by(self, a: float | None, b: float | None) -> bool | None:
        """Whether the limit is broken; None when that is unknown."""
        if b is None or (self.relative and not a):
            return None
        value = b / a - 1 if self.relative and a else b
        return value > self.bound if self.above else value < self.bound


def parse(text: str) -> Limit:
    """Read one limit.

    Raises:
        BadOption: it is not of that form, or the metric is unknown.
    """
    match = _FORM.match(text)
    if match is None:
        raise BadOption(f"{text!r} is no limit", mend="Write ttft_p95>+10% or e2e_p99>2s")
    metric, sign, plus, digits, unit = match.groups()
    if metric not in METRICS:
        raise BadOption(f"{text!r}: no metric {metric!r}", mend=f"Use one of {', '.join(METRICS)}")
    value = float(f"{plus}{digits}")
    relative = bool(plus)
    if relative and unit != "%":
        raise BadOption(f"{text!r}: a change is given in %", mend=f"Write {metric}{sign}{plus}10%")
    scale = {"%": 0.01, "ms": 0.001, "s": 1.0, None: 1.0}[unit]
    return Limit(metric, sign == ">", value * scale, relative, text.strip())
