"""A load written as text, as the command line and the report name it.

closed:8            eight users, each with one request at a time
poisson:4.5         4.5 requests a second on average, independent arrivals
constant:4.5        evenly spaced
burst:4.5x8         groups of 8 at once, 4.5 a second on average
gamma:4.5x0.5       gamma gaps with burstiness 0.5
trace:FILE[@2]      the timestamps of a JSON-lines file, twice as fast
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from quantserve.benchmarks.errors import BadOption
from quantserve.benchmarks.load import arrivals

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
                return arrivals.poisson(rate, count, seed)
            case "constant":
                return arrivals.constant(rate, count)
            case "burst":
                return arrivals.burst(rate, count, int(self.second or 8))
            case "gamma":
                return arrivals.gamma(rate, count, seed, self.second or 1.0)
            case _:
                return arrivals.trace(Path(self.trace_path or ""), self.second or 1.0)[:count]


def parse(text: str) -> Load:
    """Read a load.

    Raises:
        BadOption: it is none of the forms above.
    """
    if text.startswith("trace:"):
        name, _, speed = text.removeprefix("trace:").partition("@")
        times = arrivals.trace(Path(name), _number(speed or "1", text))
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
