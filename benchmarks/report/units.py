"""Numbers as people read them. Unknown is an en dash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNKNOWN = "–"


def ms(seconds: float | None) -> str:
    """Milliseconds with three figures or so."""
    if seconds is None:
        return UNKNOWN
    value = seconds * 1000
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 1 else f"{value:.2f}"


def number(value: float | None) -> str:
    """A figure with three significant digits or so."""
    if value is None:
        return UNKNOWN
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def percent(share: float | None) -> str:
    """A share as a percentage."""
    return UNKNOWN if share is None else f"{share * 100:.1f} %"


def mebibytes(count: float | None) -> str:
    """Bytes as MiB."""
    return UNKNOWN if count is None else f"{count / 2**20:,.0f}"


def with_interval(value: float | None, interval: Any) -> str:
    """A figure with its 95 % interval, where there is one."""
    if value is None or not interval:
        return number(value)
    return f"{number(value)} [{number(interval[0])}, {number(interval[1])}]"


def times(ratio: float | None) -> str:
    """A ratio such as 3.1×."""
    return UNKNOWN if ratio is None else f"{ratio:.2f}×"


def ratio(a: float | None, b: float | None) -> float | None:
    """a / b, None where it has no meaning."""
    return a / b if a is not None and b else None


def failures(figures: Mapping[str, Any]) -> str:
    """Failed requests by kind."""
    kinds = figures["failures"]
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) if kinds else "0"
