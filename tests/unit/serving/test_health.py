from __future__ import annotations

from quantserve.serving.health import EngineMetrics, decode_probe, parse_metrics, read_metrics

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
