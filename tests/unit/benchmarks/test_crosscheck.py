"""What other instruments saw, beside ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.programs.crosscheck import CrossOptions, from_guidellm, from_vllm, sections
from benchmarks.store import Run


def test_lengths_of_all_instruments_lie_in_one_range() -> None:
    assert CrossOptions("models/x").ranges() == ((32, 96), (16, 48))
    assert CrossOptions("models/x", spread=0.0).ranges() == ((64, 64), (32, 32))


def test_the_others_own_names_are_read() -> None:
    ours = {"output_tps": 200.0, "ttft_s": 0.1, "tpot_s": 0.03}
    assert from_vllm({"output_throughput": 200.0, "median_ttft_ms": 100.0, "median_tpot_ms": 30.0}) == ours
    metrics = {
        "output_tokens_per_second": {"successful": {"mean": 200.0}},
        "time_to_first_token_ms": {"successful": {"median": 100.0}},
        "inter_token_latency_ms": {"successful": {"median": 30.0}},
    }
    assert from_guidellm({"benchmarks": [{"metrics": metrics}]}) == ours


def test_medians_are_compared_with_ours(tmp_path: Path) -> None:
    run = Run(tmp_path)
    ours = [{"output_tps": tps, "ttft_s": 0.1, "tpot_s": 0.02, "cpu_s": 1.0} for tps in (90.0, 100.0, 300.0)]
    run.put_extra({"seen": {"quantserve": ours, "other": [{**ours[1], "output_tps": 95.0, "cpu_s": 7.0}]}})
    (table,) = sections(run, {}, tmp_path)[0].tables
    assert table.rows[1] == ["other", "1", "95.0", "100", "20.0", "7.00", "-5.0%", "+0.0%", "+0.0%"]


def test_runs_stored_before_processor_time_was_have_a_report(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.put_extra({"seen": {"quantserve": [{"output_tps": 1.0, "ttft_s": 0.1, "tpot_s": 0.02}], "x": []}})
    (table,) = sections(run, {}, tmp_path)[0].tables
    assert table.rows == [["quantserve", "1", "1.00", "100", "20.0", "–", "+0.0%", "+0.0%", "+0.0%"]]


@pytest.mark.parametrize("seen", [{}, {"quantserve": []}])
def test_nothing_seen_is_no_section(tmp_path: Path, seen: dict[str, list[dict[str, float]]]) -> None:
    run = Run(tmp_path)
    run.put_extra({"seen": seen})
    assert sections(run, {}, tmp_path) == []
