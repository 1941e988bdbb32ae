from __future__ import annotations

from pathlib import Path

import pytest

from serving.health import EngineMetrics, decode_probe, parse_metrics, read_metrics
from serving.logs import follow, telling_line

PREFIX = "(EngineCore pid=9) ERROR 11-22 09:01:38 [core.py:1512] "


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("", ""),
        ("a\nb\n", "b"),
        (
            "(APIServer pid=1) pydantic.ValidationError: 1 validation error for SchedulerConfig\n"
            "(APIServer pid=1)   Value error, too small. [type=value_error, input_value=1, input_type=int]\n"
            "(APIServer pid=1)     For further information visit https://errors.pydantic.dev/\n",
            "pydantic.ValidationError: 1 validation error for SchedulerConfig: Value error, too small.",
        ),
        (
            "pydantic.ValidationError: 2 validation errors for Config\nfield\n"
            "  Field required [type=missing, input_value={}]\nother\n",
            "pydantic.ValidationError: 2 validation errors for Config: field: Field required",
        ),
        (
            f"{PREFIX}ValueError: no room\n"
            "(APIServer pid=1) RuntimeError: Engine core initialization failed. See",
            "ValueError: no room",
        ),
        (
            "usage: api_server.py\napi_server.py: error: unrecognized arguments: --oops\n",
            "error: unrecognized arguments: --oops",
        ),
        (
            f"{PREFIX}torch.OutOfMemoryError: CUDA out of memory\nok",
            "torch.OutOfMemoryError: CUDA out of memory",
        ),
    ],
)
def test_most_telling_line(log: str, line: str) -> None:
    assert telling_line(log) == line


def test_workers_death_by_signal_is_more_telling_than_what_it_causes() -> None:
    log = (
        f"{PREFIX}Worker proc VllmWorker-0 died unexpectedly (exit code: -4), shutting down executor.\n"
        f"{PREFIX}RuntimeError: cancelled\n"
    )
    assert telling_line(log) == (
        "Worker proc VllmWorker-0 died unexpectedly (exit code: -4), shutting down executor."
    )


def test_follow_gives_what_is_added(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n", encoding="utf-8")
    lines = follow(path, poll_s=0.01)
    assert next(lines) == "old\n"
    with path.open("a", encoding="utf-8") as stream:
        stream.write("new\n")
    assert next(lines) == "new\n"


METRICS = """\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="128",num_gpu_blocks="512"} 1.0
"""


def test_engines_metrics_are_read() -> None:
    assert parse_metrics(METRICS) == EngineMetrics(3, 2, 0.25, 65_536)


def test_several_engines_are_added_up_and_their_caches_shares_averaged() -> None:
    text = METRICS.replace('block_size="128"', 'engine="0",block_size="128"')
    second = "".join(
        line.replace('engine="0"', 'engine="1"').replace("0.25", "0.75") + "\n"
        for line in text.splitlines()
        if "engine" in line
    )
    assert parse_metrics(text + second) == EngineMetrics(6, 4, 0.5, 131_072)


def test_unknown_metrics_are_none_not_zero() -> None:
    assert parse_metrics("") == EngineMetrics(None, None, None, None)


def test_unreachable_server_is_not_alive() -> None:
    probe = decode_probe("http://127.0.0.1:9", "m", 1.0)
    assert not probe.ok
    assert "ConnectError" in probe.problem
    assert read_metrics("http://127.0.0.1:9", 1.0) == EngineMetrics()
