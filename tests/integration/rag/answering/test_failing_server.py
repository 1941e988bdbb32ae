"""A model server that is slow, overloaded or gone, and a reader who leaves."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from quantserve.rag.answer import AnswerFailed
from quantserve.rag.config import RetryConfig
from quantserve.rag.errors import Cancelled
from quantserve.rag.llm import Cancellation
from tests.integration.rag.answering.bench import BULBS, CELLAR, Bench, until


def test_retry_after_is_obeyed(bench: Bench) -> None:
    bench.server.change(statuses=(503, 429), retry_after_s=0.3)
    answer = bench.answerer().answer(BULBS)
    first, second, third = (request.at for request in bench.server.chats)
    assert (answer.text, answer.retries) == (CELLAR, 2)
    assert second - first >= 0.3
    assert third - second >= 0.3


def test_a_wait_that_is_too_long_is_an_error_at_once_with_the_passages(bench: Bench) -> None:
    bench.server.change(statuses=(429,) * 9, retry_after_s=600)
    with pytest.raises(AnswerFailed, match="overloaded") as failure:
        bench.answerer().answer(BULBS)
    assert bench.asked == 1
    assert "cellar" in failure.value.passages[0].chunk.text


def test_a_server_that_keeps_failing_is_left_alone_and_tried_again(bench: Bench) -> None:
    retry = RetryConfig(attempts=1, breaker_failures=3, breaker_reset_s=0.5)
    bench.server.change(cut_after_tokens=1)
    answerer = bench.answerer(retry=retry)
    for _ in range(3):
        with pytest.raises(AnswerFailed, match="broke off"):
            answerer.answer(BULBS)
    with pytest.raises(AnswerFailed, match="left alone"):
        answerer.answer(BULBS)
    assert bench.asked == 3
    bench.server.change(cut_after_tokens=None)
    time.sleep(0.6)
    assert answerer.answer(BULBS).text == CELLAR


@pytest.mark.parametrize(
    ("behaviour", "settings", "message"),
    [
        ({"hang": True}, {"read_timeout_s": 0.3}, "did not answer in time"),
        ({"ttft_s": 60.0}, {"read_timeout_s": 0.3}, "did not answer in time|broke off"),
        ({"inter_token_s": 0.2}, {"total_timeout_s": 0.5}, "took longer than"),
    ],
    ids=["never answers", "falls silent", "goes on and on"],
)
def test_every_wait_ends(
    bench: Bench, behaviour: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    bench.server.change(answer="word " * 100, **behaviour)
    with pytest.raises(AnswerFailed, match=message) as failure:
        bench.answerer(**settings).answer(BULBS)
    assert failure.value.passages


@pytest.mark.parametrize(
    "behaviour", [{"inter_token_s": 0.05}, {"ttft_s": 60.0}], ids=["writing", "thinking"]
)
def test_a_reader_who_leaves_stops_the_generation_upstream(bench: Bench, behaviour: dict[str, Any]) -> None:
    bench.server.change(answer="word " * 2000, **behaviour)
    cancellation = Cancellation()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bench.answerer(mode="generate").answer, BULBS, cancellation=cancellation)
        until(lambda: bench.asked == 1)
        time.sleep(0.2)
        cancellation.cancel()
        with pytest.raises(Cancelled):
            running.result(timeout=20)
    until(lambda: bench.server.cancelled == 1)
    with pytest.raises(Cancelled):
        bench.answerer().answer(BULBS, cancellation=cancellation)
    assert bench.asked == 1


def test_a_reader_whose_connection_breaks_stops_the_generation_upstream(bench: Bench) -> None:
    bench.server.change(answer=f"{CELLAR} " * 400, inter_token_s=0.05)

    def gone(piece: str) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        bench.answerer(mode="generate").answer(BULBS, on_text=gone)
    until(lambda: bench.server.cancelled == 1)
