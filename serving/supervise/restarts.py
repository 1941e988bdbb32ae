"""May what died be started again, and when? One policy for engines and replicas."""

from __future__ import annotations

from collections.abc import Sequence

from quantserve.serving.config import RestartOptions

_MOST_DOUBLINGS = 30


def pause_s(failures: int, first_s: float, most_s: float) -> float:
    """Return the pause before attempt `failures` + 1: doubling, bounded."""
    return min(most_s, first_s * 2.0 ** min(failures, _MOST_DOUBLINGS))


def recent(restarts: Sequence[float], now: float, options: RestartOptions) -> int:
    """Return how many restarts, given by their times in seconds, lie within the window that ends now."""
    return sum(1 for at in restarts if now - at < options.window_s)


def delay_s(restarts: Sequence[float], now: float, options: RestartOptions) -> float | None:
    """Return the seconds to wait before the next restart, or None when the limit is reached.

    The delay doubles with each restart within the window: first · 2^n, at most the longest.
    """
    before = recent(restarts, now, options)
    if options.limit is not None and before >= options.limit:
        return None
    return pause_s(before, options.first_delay_s, options.longest_delay_s)


class Restarts:
    """The restarts of one thing that is kept running. Times in seconds, of any clock that only advances."""

    def __init__(self, options: RestartOptions) -> None:
        """Nothing has been restarted yet."""
        self.options = options
        self._times: list[float] = []

    def next_delay_s(self, now: float, ran_s: float) -> float | None:
        """Count one more restart, of what ran for `ran_s`; return the seconds until it, None to give up."""
        if ran_s > self.options.steady_s:
            self._times.clear()
        delay = delay_s(self._times, now, self.options)
        if delay is not None:
            self._times.append(now)
        return delay

    def count(self, now: float) -> int:
        """Return how many restarts count now."""
        return recent(self._times, now, self.options)
