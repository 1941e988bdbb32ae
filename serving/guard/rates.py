"""Rate limits of keys: token buckets that refill by the second, and a count of tokens per UTC day.

The counts live in the server's process: each replica counts for itself and a restart begins anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from serving.guard.keys import Key
from serving.guard.refusal import Refusal

_DAY_S = 86_400


@dataclass(slots=True)
class Bucket:
    """At most `per_minute` at once, refilled evenly. It may go below zero: a cost known only afterwards."""

    per_minute: float
    level: float
    stamp: float

    def refill(self, now: float) -> None:
        """Add what came since the last time."""
        self.level = min(self.per_minute, self.level + (now - self.stamp) * self.per_minute / 60)
        self.stamp = now

    def wait_s(self, need: float) -> int:
        """Return the whole seconds until `need` is there, at least 1."""
        return max(1, math.ceil((need - self.level) * 60 / self.per_minute))


@dataclass(slots=True)
class _Use:
    requests: Bucket | None = None
    tokens: Bucket | None = None
    day: int = 0
    day_tokens: int = 0
    limits: tuple[int | None, int | None] = field(default=(None, None))


def _full(per_minute: int | None, now: float) -> Bucket | None:
    return Bucket(per_minute, per_minute, now) if per_minute is not None else None


class RateLimits:
    """What every key has used."""

    def __init__(self, monotonic: Callable[[], float], wall: Callable[[], float]) -> None:
        """Both clocks give seconds; `wall` is Unix time, for the day."""
        self._monotonic = monotonic
        self._wall = wall
        self._uses: dict[str, _Use] = {}

    def _use(self, key: Key, now: float) -> _Use:
        use = self._uses.get(key.id)
        limits = (key.requests_per_minute, key.tokens_per_minute)
        if use is None or use.limits != limits:
            day = (0, 0) if use is None else (use.day, use.day_tokens)
            use = _Use(_full(limits[0], now), _full(limits[1], now), *day, limits)
            self._uses[key.id] = use
        return use

    def admit(self, key: Key) -> None:
        """Count one request.

        Raises:
            Refusal: 429 with the seconds to wait.
        """
        if key.requests_per_minute is key.tokens_per_minute is key.tokens_per_day is None:
            return
        now = self._monotonic()
        use = self._use(key, now)
        if key.tokens_per_day is not None:
            wall = self._wall()
            day = int(wall // _DAY_S)
            if use.day != day:
                use.day, use.day_tokens = day, 0
            if use.day_tokens >= key.tokens_per_day:
                left = _DAY_S - int(wall % _DAY_S)
                raise _too_fast("token_limit", f"{key.tokens_per_day} tokens a day are used up", left)
        if use.tokens is not None:
            use.tokens.refill(now)
            if use.tokens.level <= 0:
                wait = use.tokens.wait_s(1)
                raise _too_fast("token_limit", f"more than {key.tokens_per_minute} tokens a minute", wait)
        if use.requests is not None:
            use.requests.refill(now)
            if use.requests.level < 1:
                wait = use.requests.wait_s(1)
                raise _too_fast("rate_limit", f"more than {key.requests_per_minute} requests a minute", wait)
            use.requests.level -= 1

    def charge(self, key: Key, tokens: int) -> None:
        """Count the tokens a request really took."""
        if key.tokens_per_minute is None and key.tokens_per_day is None:
            return
        now = self._monotonic()
        use = self._use(key, now)
        if use.tokens is not None:
            use.tokens.refill(now)
            use.tokens.level -= tokens
        use.day_tokens += tokens


def _too_fast(reason: str, what: str, wait_s: int) -> Refusal:
    return Refusal(429, reason, f"{what}; wait {wait_s} s", retry_after_s=wait_s)
