"""The few series of a server's /metrics that explain a benchmark, by one name for every vLLM release."""

from __future__ import annotations

import re

_LINE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{[^}]*\})?\s+([0-9eE+.\-]+|NaN|[+-]?Inf)\s*$")

_SHARE = "kv_cache_use"
GAUGES = {
    "vllm:num_requests_running": "running",
    "vllm:num_requests_waiting": "waiting",
    "vllm:kv_cache_usage_perc": _SHARE,
    "vllm:gpu_cache_usage_perc": _SHARE,
    "llamacpp:requests_processing": "running",
    "llamacpp:requests_deferred": "waiting",
}
COUNTERS = {
    "vllm:prefix_cache_queries_total": "prefix_queries",
    "vllm:prefix_cache_queries": "prefix_queries",
    "vllm:prefix_cache_hits_total": "prefix_hits",
    "vllm:prefix_cache_hits": "prefix_hits",
    "vllm:num_preemptions_total": "preemptions",
    "vllm:spec_decode_num_draft_tokens_total": "drafted",
    "vllm:spec_decode_num_accepted_tokens_total": "accepted",
    "vllm:prompt_tokens_total": "prompt_tokens",
    "vllm:generation_tokens_total": "generation_tokens",
}


def parse(text: str) -> dict[str, float]:
    """Read the series we know from Prometheus text.

    Values of several engines are added up, but for the share of the cache in use, which is their mean.
    """
    wanted = GAUGES | COUNTERS
    values: dict[str, float] = {}
    engines = 0
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = _LINE.match(line)
        if match and (name := wanted.get(match.group(1))):
            values[name] = values.get(name, 0.0) + float(match.group(2))
            engines += name == _SHARE
    if engines:
        values[_SHARE] /= engines
    return values
