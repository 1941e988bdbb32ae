"""Rate limits of keys: token buckets that refill by the second, and a count of tokens per UTC day.

What a request may take at most is set aside when it begins, and what it took is settled when it has ended, so
that requests at the same moment cannot pass a limit together. A request that may take more than the whole
limit waits until all of it is free, and then goes alone.

The counts live in the server's process: each replica counts for itself and a restart begins anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from quantserve.core.http.keys import Key
from quantserve.core.http.refusal import Refusal

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
    """Used and set aside."""
    limits: tuple[int | None, int | None] = field(default=(None, None))


@dataclass(slots=True)
class Reservation:
    """Tokens set aside for one request: of its key's minute, and of its key's day."""

    key: Key
    bucket: Bucket | None = None
    minute_tokens: int = 0
    day: int = 0
    day_tokens: int = 0


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

    def _today(self, use: _Use) -> None:
        day = int(self._wall() // _DAY_S)
        if use.day != day:
            use.day, use.day_tokens = day, 0

    def admit(self, key: Key) -> None:
        """Count one request.

        Raises:
            Refusal: 429 with the seconds to wait.
        """
        if key.requests_per_minute is key.tokens_per_minute is key.tokens_per_day is None:
            return
        now = self._monotonic()
        use = self._use(key, now)
        self._reserve(key, use, now, 1)
        if use.requests is not None:
            use.requests.refill(now)
            if use.requests.level < 1:
                wait = use.requests.wait_s(1)
                raise _too_fast("rate_limit", f"more than {key.requests_per_minute} requests a minute", wait)
            use.requests.level -= 1

    def reserve(self, key: Key, tokens: int) -> Reservation | None:
        """Set aside what a request may take at most; None where the key has no limit of tokens.

        Raises:
            Refusal: 429 with the seconds to wait.
        """
        if key.tokens_per_minute is None and key.tokens_per_day is None:
            return None
        now = self._monotonic()
        use = self._use(key, now)
        minute, day = self._reserve(key, use, now, tokens)
        if use.tokens is not None:
            use.tokens.level -= minute
        use.day_tokens += day
        return Reservation(key, use.tokens, minute, use.day, day)

    def _reserve(self, key: Key, use: _Use, now: float, tokens: int) -> tuple[int, int]:
        """Return what would have to be set aside of the minute and of the day, if both have it."""
        minute = day = 0
        if key.tokens_per_day is not None:
            self._today(use)
            day = min(tokens, key.tokens_per_day)
            left = key.tokens_per_day - use.day_tokens
            if left < day:
                wait = _DAY_S - int(self._wall() % _DAY_S)
                raise _too_few(f"of {key.tokens_per_day} tokens a day", max(0, left), tokens, wait)
        if use.tokens is not None and key.tokens_per_minute is not None:
            use.tokens.refill(now)
            minute = min(tokens, key.tokens_per_minute)
            if use.tokens.level < minute:
                wait = use.tokens.wait_s(minute)
                left = max(0, math.floor(use.tokens.level))
                raise _too_few(f"of {key.tokens_per_minute} tokens a minute", left, tokens, wait)
        return minute, day

    def settle(self, reservation: Reservation, tokens: int) -> None:
        """Put what the request really took in the place of what was set aside for it."""
        bucket = reservation.bucket
        if bucket is not None:
            bucket.refill(self._monotonic())
            bucket.level = min(bucket.per_minute, bucket.level + reservation.minute_tokens - tokens)
        use = self._uses[reservation.key.id]
        if reservation.key.tokens_per_day is not None:
            self._today(use)
            # What was set aside yesterday was forgotten at midnight; what was taken counts today.
            use.day_tokens += tokens - (reservation.day_tokens if use.day == reservation.day else 0)


def _too_fast(reason: str, what: str, wait_s: int, advice: str = "") -> Refusal:
    return Refusal(429, reason, f"{what}; wait {wait_s} s{advice}", retry_after_s=wait_s)


def _too_few(of_what: str, left: int, tokens: int, wait_s: int) -> Refusal:
    asked = f"this request may take {tokens} tokens: " if tokens > 1 else ""
    advice = " or ask for fewer by max_tokens" if tokens > left > 0 else ""
    return _too_fast("token_limit", f"{asked}{left} {of_what} are free", wait_s, advice)
