"""When a request is made again: pure decisions over what the server said, and tenacity's loop.

Waits grow exponentially with full jitter (Brooker, "Exponential Backoff And Jitter", 2015); where the
server says Retry-After, the wait is at least that.
"""

from __future__ import annotations

import datetime
import email.utils
import random
import re
from collections.abc import Callable

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_any,
    stop_before_delay,
    wait_random_exponential,
)
from tenacity.wait import wait_base

from quantserve.rag.config import RetryConfig

_AGAIN = frozenset({408, 429, 502, 503, 504})
_SECONDS = re.compile(r"\d+(\.\d+)?")
_SPREAD = 0.25
"""Share of Retry-After that jitter adds, so that clients told the same do not come back together."""


def retry_after_s(value: str | None, now: datetime.datetime | None = None) -> float | None:
    """Read Retry-After (RFC 9110, 10.2.3): seconds, or a date; None where there is none to read."""
    if value is None:
        return None
    if _SECONDS.fullmatch(value.strip()):
        return float(value)
    try:
        date = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:  # "-0000" in place of GMT
        date = date.replace(tzinfo=datetime.UTC)
    now = now or datetime.datetime.now(datetime.UTC)
    return max(0.0, (date - now).total_seconds())


def asked_to_wait_s(error: BaseException | None) -> float | None:
    """Return the Retry-After of an error's response."""
    response = getattr(error, "response", None)
    return None if response is None else retry_after_s(response.headers.get("retry-after"))


def is_worth_repeating(error: BaseException, config: RetryConfig) -> bool:
    """Whether the same request may succeed soon: overload, a gateway's hiccup, a connection that broke.

    A time-out is not repeated (the server is at work on it), nor is a wait longer than `max_wait_s`.
    """
    import openai

    if isinstance(error, openai.APITimeoutError):
        return False
    if isinstance(error, openai.APIConnectionError):
        return True
    if not isinstance(error, openai.APIStatusError) or error.status_code not in _AGAIN:
        return False
    return (asked_to_wait_s(error) or 0.0) <= config.max_wait_s


class _Wait(wait_base):
    def __init__(self, config: RetryConfig, chance: random.Random) -> None:
        self._backoff = wait_random_exponential(multiplier=config.first_wait_s, max=config.max_wait_s)
        self._chance = chance

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        asked = asked_to_wait_s(error)
        if asked is None:
            return self._backoff(retry_state)
        return asked * (1.0 + _SPREAD * self._chance.random())


def retrying(config: RetryConfig, on_retry: Callable[[], None] = lambda: None) -> AsyncRetrying:
    """Return tenacity's loop; the last error is raised as it came. `on_retry` is told before each wait."""
    return AsyncRetrying(
        retry=retry_if_exception(lambda error: is_worth_repeating(error, config)),
        wait=_Wait(config, random.Random()),
        stop=stop_any(stop_after_attempt(config.attempts), stop_before_delay(config.total_wait_s)),
        before_sleep=lambda _: on_retry(),
        reraise=True,
    )
