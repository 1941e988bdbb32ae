"""When a request is made again."""

from __future__ import annotations

import asyncio
import datetime

import httpx
import openai
import pytest

from quantserve.rag.config import RetryConfig
from quantserve.rag.llm.retry import is_worth_repeating, retry_after_s, retrying

NOW = datetime.datetime(2026, 11, 24, 12, 0, 0, tzinfo=datetime.UTC)


def refusal(status: int, retry_after: str | None = None) -> openai.APIStatusError:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    request = httpx.Request("POST", "http://127.0.0.1/v1")
    return openai.APIStatusError(
        "refused", response=httpx.Response(status, headers=headers, request=request), body=None
    )


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("3", 3.0),
        ("0.5", 0.5),
        ("Tue, 24 Nov 2026 12:00:07 GMT", 7.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("nan", None),
        ("-1", None),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, NOW) == seconds


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (refusal(429), True),
        (refusal(503, "2"), True),
        (refusal(503, "600"), False),
        (refusal(400), False),
        (refusal(401), False),
        (refusal(500), False),
        (openai.APIConnectionError(request=httpx.Request("POST", "http://127.0.0.1")), True),
        (openai.APITimeoutError(request=httpx.Request("POST", "http://127.0.0.1")), False),
        (ValueError("no JSON"), False),
    ],
)
def test_what_is_repeated(error: Exception, again: bool) -> None:
    assert is_worth_repeating(error, RetryConfig(max_wait_s=8.0)) is again


def waits(config: RetryConfig, retry_after: str | None) -> list[float]:
    """Return how long each wait would be for a server that always refuses."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def ask() -> None:
        async for attempt in retrying(config).copy(sleep=sleep):
            with attempt:
                raise refusal(503, retry_after)

    with pytest.raises(openai.APIStatusError):
        asyncio.run(ask())
    return slept


def test_waits_are_spread_and_never_shorter_than_asked() -> None:
    config = RetryConfig(attempts=5, first_wait_s=0.5, max_wait_s=4.0, total_wait_s=1000.0)
    plain = [waits(config, None) for _ in range(20)]
    assert all(len(slept) == 4 and max(slept) <= 4.0 for slept in plain)
    assert len({tuple(slept) for slept in plain}) == 20
    told = [seconds for _ in range(20) for seconds in waits(config, "2")]
    assert all(2.0 <= seconds <= 2.5 for seconds in told)
    assert len(set(told)) > 1


def test_no_request_begins_after_the_total() -> None:
    assert waits(RetryConfig(attempts=99, max_wait_s=8.0, total_wait_s=1.0), "2") == []
