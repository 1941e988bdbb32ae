from __future__ import annotations

import pytest

from quantserve.benchmarks.measure.metrics import Slo, point, rates, window_s
from tests.unit.benchmarks.build import failed, record


def test_window_is_first_send_to_last_byte() -> None:
    assert window_s([record(1.0, (2.0,), done=3.0), record(0.5, (0.6,), done=0.7)]) == 2.5


def test_throughput_counts_tokens_of_answers_only() -> None:
    records = [record(0.0, (1.0, 2.0)), record(0.0, (1.0, 4.0), total=6), failed(0.0)]
    found = rates(records, Slo())
    assert found == {"output_tps": 2.0, "total_tps": 7.0, "requests_ps": 0.5, "goodput_ps": None}


def test_goodput_counts_requests_that_meet_every_limit() -> None:
    slo = Slo(ttft_s=0.5, e2e_s=2.0)
    records = [
        record(0.0, (0.4, 1.0)),  # good
        record(0.0, (0.6, 1.0)),  # first token late
        record(0.0, (0.4, 4.0)),  # too slow
        failed(0.0),
    ]
    figures = point(records, slo)
    assert figures["goodput_ps"] == 0.25
    assert figures["good_share"] == 0.25


def test_one_token_has_no_tpot_to_violate() -> None:
    assert Slo(tpot_s=0.001).met_by(record(0.0, (1.0,)))


def test_warmup_is_never_counted() -> None:
    figures = point([record(0.0, phase="warmup"), record(5.0, (6.0, 7.0))])
    assert figures["requests"] == 1
    assert figures["ttft"]["mean"] == 1.0


def test_cut_off_is_no_failure() -> None:
    figures = point([record(), failed(kind="cut_off")])
    assert (figures["requests"], figures["failed"], figures["cut_off"]) == (1, 0, 1)


def test_failures_are_counted_by_kind_with_an_example() -> None:
    figures = point([failed(), failed(), failed(kind="timeout"), record()])
    assert figures["failures"] == {"http_5xx": 2, "timeout": 1}
    assert figures["failure_examples"] == {"http_5xx": "because", "timeout": "because"}


def test_rates_are_means_over_repeats() -> None:
    records = [record(0.0, (1.0, 2.0), cell="a"), record(100.0, (101.0, 104.0), cell="b")]
    figures = point(records)
    assert figures["repeats"] == 2
    assert figures["output_tps"] == pytest.approx(0.75)
    assert figures["output_tps_by_repeat"] == [1.0, 0.5]


def test_no_success_gives_unknown_not_zero_latency() -> None:
    figures = point([failed()])
    assert figures["ttft"]["mean"] is None
    assert figures["ttft"]["p50"] is None
    assert figures["prompt_tokens"] is None


def test_nothing_measured_gives_unknown_rates() -> None:
    assert point([])["output_tps"] is None
