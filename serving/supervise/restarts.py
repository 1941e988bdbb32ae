"""May an engine that died be started again, and when? Pure."""

from __future__ import annotations

from collections.abc import Sequence

from serving.config import RestartOptions


def recent(restarts: Sequence[float], now: float, options: RestartOptions) -> int:
    """Return how many restarts, given by their times in seconds, lie within the window that ends now."""
    return sum(1 for at in restarts if now - at < options.window_s)


def delay_s(restarts: Sequence[float], now: float, options: RestartOptions) -> float | None:
    """Return the seconds to wait before the next restart, or None when the limit is reached.

    The delay doubles with each restart within the window: first · 2^n, at most the longest.
    """
    before = recent(restarts, now, options)
    if before >= options.limit:
        return None
    return min(options.longest_delay_s, options.first_delay_s * 2.0**before)
