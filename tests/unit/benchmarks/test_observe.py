from __future__ import annotations

import os

import pytest

from quantserve.benchmarks import processes
from quantserve.benchmarks.measure.sampling import parse_metrics, parse_nvidia_smi, summarise


def test_known_series_are_read_and_engines_added_up() -> None:
    text = """# HELP vllm:num_requests_running x
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
vllm:prefix_cache_hits_total{engine="0"} 1.5e+03
vllm:kv_cache_usage_perc{engine="0"} 0.25
unrelated 7
broken line here
"""
    assert parse_metrics(text) == {"running": 5.0, "prefix_hits": 1500.0, "kv_cache_use": 0.25}


def test_a_summary_takes_peaks_rises_and_shares() -> None:
    rows = [
        {"t_s": 0.0, "running": 1.0, "prefix_queries": 100.0, "prefix_hits": 10.0, "cpu_s": 5.0,
         "own_cpu_s": 1.0, "machine_cpu_s": 50.0, "machine_steal_s": 0.0, "memory_bytes": 10.0},
        {"t_s": 10.0, "running": 3.0, "prefix_queries": 300.0, "prefix_hits": 60.0, "cpu_s": 15.0,
         "own_cpu_s": 2.0, "machine_cpu_s": 65.0, "machine_steal_s": 1.0, "memory_bytes": 30.0},
    ]  # fmt: skip
    found = summarise(rows, cores=2)
    assert found["running_max"] == 3.0
    assert found["running_mean"] == 2.0
    assert found["prefix_hit_share"] == pytest.approx(0.25)
    assert found["server_cpu_share"] == pytest.approx(0.5)
    assert found["client_cpu_share"] == pytest.approx(0.05)
    assert found["other_cpu_share"] == pytest.approx(0.2)
    assert found["steal_share"] == pytest.approx(0.05)
    assert found["memory_bytes_max"] == 30.0
    assert found["gpu_power_w_mean"] is None


def test_a_counter_that_was_reset_is_unknown() -> None:
    rows = [{"t_s": 0.0, "preemptions": 9.0}, {"t_s": 1.0, "preemptions": 1.0}]
    assert summarise(rows, 1)["preemptions"] is None


def test_nothing_sampled_is_unknown() -> None:
    assert set(summarise([], 2).values()) == {None}


def test_this_process_has_memory_and_cpu() -> None:
    found = processes.ProcessTrees([os.getpid()]).sample()
    assert found["memory_bytes"] > 10e6
    assert found["cpu_s"] > 0


def test_a_process_that_is_gone_counts_as_nothing() -> None:
    assert processes.ProcessTrees([2**22 - 1]).sample() == {}


def test_nvidia_smi_rows_are_added_up() -> None:
    assert parse_nvidia_smi("100.5, 2048, 30\n50, 1024, 80\n") == {
        "gpu_power_w": 150.5,
        "gpu_memory_bytes": 3072 * 2**20,
        "gpu_use_percent": 80.0,
    }


def test_no_gpu_gives_nothing() -> None:
    assert parse_nvidia_smi("[N/A], [N/A], [N/A]\n") == {}
