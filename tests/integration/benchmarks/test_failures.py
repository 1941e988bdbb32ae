"""Every way to fail is named, counted, and kept out of the latencies."""

from __future__ import annotations

import pytest

from quantserve.benchmarks.load.plan import Task, Turn
from quantserve.benchmarks.measure.metrics import point
from quantserve.benchmarks.records import Failure
from tests.integration.benchmarks.conftest import Start
from tests.integration.benchmarks.driving import drive, tasks


@pytest.mark.parametrize(
    ("kind", "failure"),
    [
        ("http_500", Failure.SERVER_ERROR),
        ("http_429", Failure.RATE_LIMITED),
        ("http_400", Failure.CLIENT_ERROR),
        ("cut", Failure.DISCONNECTED),
        ("garbage", Failure.MALFORMED),
        ("error_event", Failure.ERROR_EVENT),
        ("no_done", Failure.MALFORMED),
        ("no_usage", Failure.MALFORMED),
        ("empty", Failure.EMPTY),
    ],
)
def test_a_failure_has_its_name(start_fake: Start, kind: str, failure: Failure) -> None:
    fake = start_fake(failure_rate=1.0, failure_kind=kind, ttft_ms=5, itl_ms=1)
    records = drive(fake.url, tasks(4, 8), 2).records
    assert [r.failure for r in records] == [failure] * 4


def test_a_hanging_server_is_a_timeout(start_fake: Start) -> None:
    fake = start_fake(failure_rate=1.0, failure_kind="hang")
    record = drive(fake.url, tasks(1, 8), 1, timeout_s=0.5).records[0]
    assert record.failure == Failure.TIMEOUT
    assert record.done_s is not None
    assert record.done_s - record.sent_s == pytest.approx(0.5, abs=0.2)


def test_no_server_is_refused() -> None:
    record = drive("http://127.0.0.1:9/v1", tasks(1, 8), 1).records[0]
    assert record.failure == Failure.REFUSED


def test_failures_do_not_enter_latencies(start_fake: Start) -> None:
    """Failures answer at once, successes after 100 ms: mixed in, they would halve the median."""
    fake = start_fake(failure_rate=0.5, failure_kind="http_500", ttft_ms=100, itl_ms=2)
    records = drive(fake.url, tasks(60, 8), 6).records
    truth = fake.truth()
    figures = point(records)
    failed = sum(row["outcome"] == "failed" for row in truth.values())
    assert figures["failures"] == {"http_5xx": failed}
    assert figures["succeeded"] == 60 - failed
    assert figures["ttft"]["n"] == 60 - failed
    assert figures["ttft"]["min"] > 0.09


def test_fewer_tokens_than_demanded_is_a_failure(start_fake: Start) -> None:
    fake = start_fake(itl_ms=1)
    turn = Turn(prompt="a b", max_tokens=8)
    record = drive(fake.url, [Task(0, [turn])], 1, extra_body={"max_tokens": 3}).records[0]
    assert record.failure == Failure.SHORT
    assert record.completion_tokens == 3


def test_a_kept_connection_that_died_is_replaced(start_fake: Start) -> None:
    """The fake closes a connection after a cut; the next request must not fail for it."""
    fake = start_fake(failure_rate=0.3, failure_kind="cut", ttft_ms=1, itl_ms=1)
    records = drive(fake.url, tasks(40, 4), 1).records
    truth = fake.truth()
    cut = sum(row["outcome"] == "failed" for row in truth.values())
    assert sum(not r.ok for r in records) == cut


def test_a_run_that_ends_cuts_off_what_is_under_way(start_fake: Start) -> None:
    import asyncio
    from time import perf_counter

    from quantserve.benchmarks.load import workers
    from quantserve.benchmarks.load.plan import LoadTarget, Shard

    fake = start_fake(ttft_ms=60_000)
    shard = Shard(
        cell="c",
        target=LoadTarget(base_url=fake.url, model="fake"),
        tasks=tasks(2, 4),
        users=2,
        epoch_s=perf_counter(),
        duration_s=0.3,
        grace_s=0.3,
    )
    records = asyncio.run(workers.run(shard, 1, lambda _: None)).records
    assert [r.failure for r in records] == [Failure.CUT_OFF, Failure.CUT_OFF]
    assert point(records)["failed"] == 0
