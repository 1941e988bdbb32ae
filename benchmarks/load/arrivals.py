"""Arrival times of open loops, in seconds from the start."""

from __future__ import annotations

import itertools
import json
import math
import random
from pathlib import Path

from quantserve.benchmarks.errors import BadOption, BadRun


def constant(rate_per_s: float, count: int) -> list[float]:
    """Evenly spaced arrivals."""
    _check(rate_per_s)
    return [number / rate_per_s for number in range(count)]


def poisson(rate_per_s: float, count: int, seed: int) -> list[float]:
    """Arrivals of many independent users: exponential gaps, the first after one gap."""
    _check(rate_per_s)
    chance = random.Random(seed)
    return list(itertools.accumulate(chance.expovariate(rate_per_s) for _ in range(count)))


def burst(rate_per_s: float, count: int, size: int) -> list[float]:
    """Groups of `size` at the same instant, `rate_per_s` on average."""
    _check(rate_per_s)
    if size < 1:
        raise BadOption(f"a burst of {size} requests", mend="Give --burst-size 1 or more")
    return [(number // size) * size / rate_per_s for number in range(count)]


def gamma(rate_per_s: float, count: int, seed: int, burstiness: float) -> list[float]:
    """Gamma-distributed gaps: burstiness 1 is Poisson, below 1 burstier, above 1 more even.

    The same meaning as `vllm bench serve --burstiness`.
    """
    _check(rate_per_s)
    if burstiness <= 0:
        raise BadOption("burstiness must be above 0", mend="1 is Poisson")
    chance = random.Random(seed)
    scale = 1 / (rate_per_s * burstiness)
    return list(itertools.accumulate(chance.gammavariate(burstiness, scale) for _ in range(count)))


def trace(path: Path, speed: float = 1.0) -> list[float]:
    """Replay recorded arrivals: JSON lines with `timestamp` (seconds, or milliseconds with `timestamp_ms`).

    The first arrival becomes time 0; `speed` 2 replays twice as fast.

    Raises:
        BadRun: the file is missing or a line has no timestamp.
    """
    if speed <= 0:
        raise BadOption("the replay speed must be above 0", mend="2 replays twice as fast")
    if not path.is_file():
        raise BadRun(f"{path} does not exist", mend="Give a JSON-lines file with a timestamp on each line")
    times = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            stamp = value["timestamp_ms"] / 1000 if "timestamp_ms" in value else float(value["timestamp"])
        except (ValueError, KeyError, TypeError) as error:
            raise BadRun(f"{path}, line {number}, has no timestamp ({error!r})") from error
        if not math.isfinite(stamp):
            raise BadRun(f"{path}, line {number}: the timestamp is not finite")
        times.append(stamp)
    if not times:
        raise BadRun(f"{path} holds no arrival")
    times.sort()
    return [(stamp - times[0]) / speed for stamp in times]


def _check(rate_per_s: float) -> None:
    if not (math.isfinite(rate_per_s) and rate_per_s > 0):
        raise BadOption(f"a rate of {rate_per_s} requests per second", mend="Give a rate above 0")
