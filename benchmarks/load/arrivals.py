"""A load written as text, as the command line and the report name it, and its times of arrival. Pure.

closed:8            eight users, each with one request at a time
poisson:4.5         4.5 requests a second on average, independent arrivals
constant:4.5        evenly spaced
burst:4.5x8         groups of 8 at once, 4.5 a second on average
gamma:4.5x0.5       gamma gaps with burstiness 0.5
trace:FILE[@2]      the timestamps of a JSON-lines file, twice as fast
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import random
import re
from collections.abc import Sequence
from pathlib import Path

from quantserve.benchmarks.errors import BadOption, BadRun

_PATTERN = re.compile(r"^(closed|poisson|constant|burst|gamma):([0-9.]+)(?:x([0-9.]+))?$")


@dataclasses.dataclass(frozen=True)
class Load:
    """How requests arrive."""

    kind: str
    users: int | None = None
    rate_per_s: float | None = None
    second: float | None = None
    trace_path: str | None = None
    text: str = ""

    def arrivals(self, count: int, seed: int) -> list[float] | None:
        """Planned times of `count` requests; None for a closed loop."""
        rate = self.rate_per_s or 0.0
        match self.kind:
            case "closed":
                return None
            case "poisson":
                return poisson(rate, count, seed)
            case "constant":
                return constant(rate, count)
            case "burst":
                return burst(rate, count, int(self.second or 8))
            case "gamma":
                return gamma(rate, count, seed, self.second or 1.0)
            case _:
                return trace(Path(self.trace_path or ""), self.second or 1.0)[:count]


def closed(users: int) -> Load:
    """So many users, each with one request at a time."""
    return Load("closed", users=users, text=f"closed:{users}")


def closed_loads(users: Sequence[int], requests_per_user: int, least_requests: int) -> list[tuple[Load, int]]:
    """A closed loop for each number of users, with its number of requests."""
    return [(closed(count), max(least_requests, count * requests_per_user)) for count in users]


def parse_load(text: str) -> Load:
    """Read a load.

    Raises:
        BadOption: it is none of the forms above.
    """
    if text.startswith("trace:"):
        name, _, speed = text.removeprefix("trace:").partition("@")
        times = trace(Path(name), _number(speed or "1", text))
        rate = len(times) / times[-1] if times[-1] > 0 else None
        return Load("trace", rate_per_s=rate, second=_number(speed or "1", text), trace_path=name, text=text)
    match = _PATTERN.match(text)
    if match is None:
        raise BadOption(f"{text!r} is no load", mend="Write closed:8, poisson:4.5, constant:4.5, burst:4.5x8")
    kind, value, second = match.groups()
    amount = _number(value, text)
    extra = None if second is None else _number(second, text)
    if amount <= 0:
        raise BadOption(f"{text!r}: the amount must be above 0", mend="Write closed:1 or more")
    if kind == "closed":
        if amount != int(amount) or extra is not None:
            raise BadOption(f"{text!r}: users are a whole number", mend="Write closed:8")
        return Load("closed", users=int(amount), text=text)
    return Load(kind, rate_per_s=amount, second=extra, text=text)


def _number(value: str, text: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise BadOption(f"{text!r}: {value!r} is no number", mend="Write closed:8 or poisson:4.5") from error


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
