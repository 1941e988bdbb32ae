"""What other instruments saw, beside ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quantserve.benchmarks.load.plan import Task, Turn
from quantserve.benchmarks.measure.store import Run
from quantserve.benchmarks.peers.instruments import InstrumentJob, from_guidellm, from_vllm
from quantserve.benchmarks.scenarios.crosscheck import sections
from quantserve.benchmarks.servers import Server


def test_both_others_are_asked_for_the_same_lengths() -> None:
    tasks = [Task(0, [Turn("a b", 9, 2)]), Task(1, [Turn("c d e", 4, 3)])]
    job = InstrumentJob(Server("http://x/v1", "m"), tasks, 1, lambda text: len(str(text).split()), "models/x")
    talks = [[said["value"] for said in talk["conversations"]] for talk in json.loads(job.sharegpt())]
    assert [(prompt, len(answer.split())) for prompt, answer in talks] == [("a b", 9), ("c d e", 4)]
    assert [json.loads(line) for line in job.columns().splitlines()] == [
        {"prompt": "a b", "prompt_tokens_count": 2, "output_tokens_count": 9},
        {"prompt": "c d e", "prompt_tokens_count": 3, "output_tokens_count": 4},
    ]


def test_the_others_own_names_are_read() -> None:
    ours = {"output_tps": 200.0, "ttft_s": 0.1, "tpot_s": 0.03, "tokens": 900}
    times = {"median_ttft_ms": 100.0, "median_tpot_ms": 30.0}
    vllm = {"output_throughput": 200.0, "total_output_tokens": 900, "completed": 40, **times}
    assert from_vllm(vllm) == ours
    assert from_vllm({**vllm, "completed": 5}) == {**ours, "ttft_s": None, "tpot_s": None}
    metrics = {
        "output_tokens_per_second": {"successful": {"mean": 200.0}},
        "time_to_first_token_ms": {"successful": {"median": 100.0, "count": 40}},
        "inter_token_latency_ms": {"successful": {"median": 30.0}},
        "output_token_count": {"successful": {"total_sum": 900}},
    }
    assert from_guidellm({"benchmarks": [{"metrics": metrics}]}) == ours


def test_medians_are_compared_with_ours(tmp_path: Path) -> None:
    run = Run(tmp_path)
    same = {"ttft_s": 0.1, "tpot_s": 0.02, "cpu_s": 1.0, "tokens": 900}
    ours = [{"output_tps": tps, **same} for tps in (90.0, 100.0, 300.0)]
    run.put_extra({"seen": {"quantserve": ours, "other": [{**ours[1], "output_tps": 95.0, "cpu_s": 7.0}]}})
    (table,) = sections(run, {}, tmp_path)[0].tables
    assert table.rows[1] == ["other", "1", "900", "95.0", "100", "20.0", "7.00", "-5.0%", "+0.0%", "+0.0%"]


def test_a_figure_that_a_run_is_too_short_for_is_left_out(tmp_path: Path) -> None:
    run = Run(tmp_path)
    short = {"output_tps": 90.0, "ttft_s": None, "tpot_s": None, "cpu_s": 1.0, "tokens": 90}
    run.put_extra({"seen": {"quantserve": [short], "other": [{**short, "ttft_s": 0.1}]}})
    (table,) = sections(run, {}, tmp_path)[0].tables
    assert table.rows[1] == ["other", "1", "90.0", "90.0", "100", "–", "1.00", "+0.0%", "–", "–"]


def test_runs_stored_before_a_figure_was_kept_have_a_report(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.put_extra({"seen": {"quantserve": [{"output_tps": 1.0, "ttft_s": 0.1, "tpot_s": 0.02}], "x": []}})
    (table,) = sections(run, {}, tmp_path)[0].tables
    assert table.rows == [["quantserve", "1", "–", "1.00", "100", "20.0", "–", "+0.0%", "+0.0%", "+0.0%"]]


@pytest.mark.parametrize("seen", [{}, {"quantserve": []}])
def test_nothing_seen_is_no_section(tmp_path: Path, seen: dict[str, list[dict[str, float]]]) -> None:
    run = Run(tmp_path)
    run.put_extra({"seen": seen})
    assert sections(run, {}, tmp_path) == []
