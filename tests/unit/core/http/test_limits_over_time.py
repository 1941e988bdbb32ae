from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from quantserve.core.http.admission import Places
from quantserve.core.http.keys import Key
from quantserve.core.http.rates import RateLimits
from quantserve.core.http.refusal import Refusal


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def key(**limits: Any) -> Key:
    return Key(id="00000001", name="a", sha256="0" * 64, created=datetime(2026, 1, 1, tzinfo=UTC), **limits)


def refusal_of(limits: RateLimits, asked: Key) -> Refusal:
    with pytest.raises(Refusal) as caught:
        limits.admit(asked)
    assert caught.value.status == 429
    return caught.value


def test_requests_a_minute_refill_evenly() -> None:
    clock = Clock()
    limits, asked = RateLimits(clock, clock), key(requests_per_minute=6)
    for _ in range(6):
        limits.admit(asked)
    refusal = refusal_of(limits, asked)
    assert (refusal.code, refusal.retry_after_s) == ("rate_limit", 10)
    clock.now += 10
    limits.admit(asked)
    refusal_of(limits, asked)


def spend(limits: RateLimits, asked: Key, reserved: int, taken: int) -> None:
    reservation = limits.reserve(asked, reserved)
    assert reservation is not None
    limits.settle(reservation, taken)


def test_tokens_a_minute_go_into_debt_and_come_back() -> None:
    clock = Clock()
    limits, asked = RateLimits(clock, clock), key(tokens_per_minute=60)
    limits.admit(asked)
    spend(limits, asked, 10, 90)
    refusal = refusal_of(limits, asked)
    assert (refusal.code, refusal.retry_after_s) == ("token_limit", 31)
    clock.now += 31
    limits.admit(asked)


def test_tokens_a_day_begin_anew_at_midnight_utc() -> None:
    clock = Clock()
    clock.now = 86_400.0 * 20_000 + 86_000
    limits, asked = RateLimits(clock, clock), key(tokens_per_day=100)
    limits.admit(asked)
    spend(limits, asked, 100, 100)
    assert refusal_of(limits, asked).retry_after_s == 400
    clock.now += 400
    limits.admit(asked)


def test_request_over_midnight_counts_for_the_new_day_once() -> None:
    clock = Clock()
    clock.now = 86_400.0 * 20_000 - 10
    limits, asked = RateLimits(clock, clock), key(tokens_per_day=100)
    reservation = limits.reserve(asked, 80)
    assert reservation is not None
    clock.now += 20
    limits.settle(reservation, 30)
    spend(limits, asked, 70, 70)
    assert refusal_of(limits, asked).code == "token_limit"


@pytest.mark.parametrize("limit", ["tokens_per_minute", "tokens_per_day"])
def test_requests_at_once_cannot_pass_a_limit_together(limit: str) -> None:
    clock = Clock()
    limits, asked = RateLimits(clock, clock), key(**{limit: 10})
    limits.admit(asked)
    assert limits.reserve(asked, 1024) is not None
    for _ in range(23):
        with pytest.raises(Refusal) as caught:
            limits.reserve(asked, 1024)
        assert (caught.value.status, caught.value.code) == (429, "token_limit")


@pytest.mark.parametrize("limit", ["tokens_per_minute", "tokens_per_day"])
def test_what_was_set_aside_and_not_taken_is_free_again(limit: str) -> None:
    clock = Clock()
    limits, asked = RateLimits(clock, clock), key(**{limit: 100})
    for _ in range(10):
        spend(limits, asked, 90, 1)
    assert limits.reserve(asked, 90) is not None
    with pytest.raises(Refusal, match="may take 91 tokens"):
        limits.reserve(asked, 91)


def test_keys_do_not_share_and_new_limits_hold_at_once() -> None:
    clock = Clock()
    limits = RateLimits(clock, clock)
    one, other = key(requests_per_minute=1), key(requests_per_minute=1).model_copy(update={"id": "00000002"})
    limits.admit(one)
    limits.admit(other)
    refusal_of(limits, one)
    limits.admit(key(requests_per_minute=5))


def test_key_without_limits_is_never_refused() -> None:
    clock = Clock()
    limits = RateLimits(clock, clock)
    for _ in range(1000):
        limits.admit(key())
    assert limits.reserve(key(), 10**9) is None
    limits.admit(key())


def test_queue_refuses_what_does_not_fit_and_takes_it_later() -> None:
    slots = Places(3)
    slots.take(2)
    with pytest.raises(Refusal) as caught:
        slots.take(2)
    assert (caught.value.status, caught.value.code, caught.value.retry_after_s) == (429, "queue_full", 1)
    slots.release(2, 0.1)
    slots.take(3)
    assert slots.taken == 3


def test_request_that_could_never_fit_is_not_told_to_wait() -> None:
    with pytest.raises(Refusal) as caught:
        Places(3).take(4)
    assert (caught.value.status, caught.value.retry_after_s) == (400, None)


def test_retry_after_grows_with_the_time_requests_take_and_is_bounded() -> None:
    slots = Places(1)
    for _ in range(100):
        slots.take(1)
        slots.release(1, 500.0)
    slots.take(1)
    with pytest.raises(Refusal) as caught:
        slots.take(1)
    assert caught.value.retry_after_s == 30
