from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantserve.benchmarks.measure import metrics
from tests.unit.benchmarks.build import failed, record


def test_ttft_counts_from_the_real_send() -> None:
    assert metrics.ttft_s(record(0.25, (1.0, 2.0), intended=0.0)) == pytest.approx(0.75)


def test_response_counts_from_the_intended_send() -> None:
    assert metrics.response_s(record(0.25, (1.0, 2.0), intended=0.0, done=2.5)) == pytest.approx(2.5)


def test_e2e_ends_with_the_last_byte() -> None:
    assert metrics.e2e_s(record(0.5, (1.0, 2.0), done=2.5)) == pytest.approx(2.0)


def test_tpot_of_single_token_chunks() -> None:
    assert metrics.tpot_s(record(0.0, (1.0, 1.2, 1.6))) == pytest.approx(0.3)


def test_tpot_leaves_out_the_tokens_of_the_first_chunk() -> None:
    assert metrics.tpot_s(record(0.0, (1.0, 1.4), counts=[5, 4])) == pytest.approx(0.1)


def test_tpot_without_counts_spreads_tokens_evenly() -> None:
    assert metrics.tpot_s(record(0.0, (1.0, 1.4), total=8)) == pytest.approx(0.1)


def test_one_chunk_has_no_tpot() -> None:
    assert metrics.tpot_s(record(0.0, (1.0,), counts=[7])) is None


def test_itl_divides_a_gap_by_the_tokens_it_brought() -> None:
    assert metrics.itl_s(record(0.0, (1.0, 1.1, 1.5), counts=[1, 1, 4])) == pytest.approx([0.1, 0.1])


def test_pauses_are_what_a_reader_sees() -> None:
    assert metrics.pauses_s(record(0.0, (1.0, 1.1, 1.5), counts=[1, 1, 4])) == pytest.approx([0.1, 0.4])


@pytest.mark.parametrize("value_of", [*metrics.PER_REQUEST.values()])
def test_a_failed_request_has_no_latency(value_of: metrics.Value) -> None:
    broken = record(0.0, (1.0, 1.5))
    broken.failure = "disconnected"
    assert value_of(broken) is None
    assert value_of(failed()) is None


@given(
    gaps=st.lists(st.floats(0.001, 2.0), min_size=2, max_size=40),
    sent=st.floats(0, 1e4),
    shift=st.floats(0, 1e4),
)
def test_latencies_do_not_depend_on_when(gaps: list[float], sent: float, shift: float) -> None:
    def at(zero: float) -> tuple[float, ...]:
        stamps, now = [], zero
        for gap in gaps:
            now += gap
            stamps.append(now)
        return tuple(stamps)

    one, other = record(sent, at(sent)), record(sent + shift, at(sent + shift))
    for value_of in metrics.PER_REQUEST.values():
        a, b = value_of(one), value_of(other)
        assert a is not None
        assert b == pytest.approx(a, abs=1e-8)


@given(st.lists(st.floats(0.001, 2.0), min_size=2, max_size=40))
def test_ttft_and_itls_add_up_to_the_last_token(gaps: list[float]) -> None:
    stamps, now = [], 0.0
    for gap in gaps:
        now += gap
        stamps.append(now)
    r = record(0.0, tuple(stamps))
    ttft = metrics.ttft_s(r)
    assert ttft is not None
    assert ttft + sum(metrics.itl_s(r)) == pytest.approx(stamps[-1])
