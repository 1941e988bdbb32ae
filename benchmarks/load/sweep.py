"""Where to measure next, and where the knee is. Pure decisions over (load, result) pairs."""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Point:
    """One measured load: what was offered and what came of it."""

    offered: float
    """Users, or requests per second."""
    throughput: float
    """Output tokens per second."""
    latency_s: float
    """The latency that matters, such as median E2E."""
    meets_slo: bool = True


def users_ladder(highest: int) -> list[int]:
    """1, 2, 4, … up to and including `highest`."""
    steps = [1 << power for power in range(int(math.log2(highest)) + 1)]
    return steps if steps[-1] == highest else [*steps, highest]


def knee(points: list[Point]) -> Point | None:
    """The point of highest power (throughput / latency), Kleinrock's optimum.

    Below it a server idles, above it requests mostly wait. None without two points.
    L. Kleinrock, "Power and deterministic rules of thumb for probabilistic problems in computer
    communications", ICC 1979.
    """
    usable = [point for point in points if point.latency_s > 0 and point.throughput > 0]
    return max(usable, key=lambda point: point.throughput / point.latency_s) if len(usable) > 1 else None


def next_rate(points: list[Point], precision: float = 0.1) -> float | None:
    """The next request rate to try in the search for the highest that meets the SLO; None: found.

    Doubles until a rate fails, halves while none passes, then bisects (geometrically) until the highest
    passing and the lowest failing rate are within `precision` of each other.
    """
    passed = [point.offered for point in points if point.meets_slo]
    failed = [point.offered for point in points if not point.meets_slo]
    if not points:
        return 1.0
    if not failed:
        return max(passed) * 2
    low, high = max((rate for rate in passed if rate < min(failed)), default=None), min(failed)
    if low is None:
        return high / 2 if high > 1 / 64 else None
    return None if high / low - 1 <= precision else math.sqrt(low * high)


def highest_passing(points: list[Point]) -> float | None:
    """The highest rate that met the SLO below the lowest one that did not."""
    failed = [point.offered for point in points if not point.meets_slo]
    passed = [point.offered for point in points if point.meets_slo]
    limit = min(failed, default=math.inf)
    return max((rate for rate in passed if rate < limit), default=None)
