"""Is the server really alive? Decode a token and see. Also reads the engine's own metrics."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

from quantserve.serving.guard.internal import probe_headers

_PROBE = {"prompt": "The", "max_tokens": 1, "temperature": 0.0}


@dataclass(frozen=True)
class DecodeProbe:
    """Outcome of asking for one token."""

    ok: bool
    seconds: float | None
    problem: str = ""


@functools.cache
def _client() -> httpx.Client:
    """One client for all probes: to make one costs more than a probe. No connection is kept between two."""
    return httpx.Client(
        trust_env=False,  # a proxy must not stand between us and this machine
        verify=False,  # our own server on this machine: what is asked is whether it lives, not who it is
        limits=httpx.Limits(max_keepalive_connections=0),
    )


def decode_probe(
    url: str, model: str, timeout_s: float, api_key: str | None = None, copy: int | None = None
) -> DecodeProbe:
    """Ask the server at `url` (without /v1) for one token of `model`, of one copy where it holds several."""
    headers = probe_headers(api_key)
    if copy is not None:
        headers["X-data-parallel-rank"] = str(copy)  # vLLM's own way to choose the engine
    try:
        response = _client().post(
            f"{url}/v1/completions",
            json={"model": model, **_PROBE},
            headers=headers,
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 2.0)),
        )
        elapsed = response.elapsed.total_seconds()
        if response.status_code != 200:
            return DecodeProbe(False, elapsed, f"HTTP {response.status_code}: {response.text[:200]}")
        tokens = response.json()["usage"]["completion_tokens"]
    except httpx.HTTPError as error:
        return DecodeProbe(False, None, f"{type(error).__name__}: {error}")
    except (ValueError, KeyError, TypeError) as error:
        return DecodeProbe(False, None, f"not an answer of this API: {error}")
    return DecodeProbe(tokens == 1, elapsed, "" if tokens == 1 else f"{tokens} tokens came")


@dataclass(frozen=True)
class EngineMetrics:
    """A few of vLLM's gauges; None where the server does not report one."""

    running: int | None = None
    waiting: int | None = None
    kv_usage: float | None = None
    """Share of the KV cache in use, 0 to 1; of several engines, the mean."""
    kv_cache_tokens: int | None = None


def read_metrics_text(url: str, timeout_s: float = 3.0) -> str:
    """Return /metrics as they are; "" when they cannot be reached."""
    try:
        response = _client().get(f"{url}/metrics", headers=probe_headers(), timeout=timeout_s)
        response.raise_for_status()
    except httpx.HTTPError:
        return ""
    return response.text


def read_metrics(url: str, timeout_s: float = 3.0) -> EngineMetrics:
    """Read /metrics; everything is None when it cannot be reached."""
    return parse_metrics(read_metrics_text(url, timeout_s))


def parse_metrics(text: str) -> EngineMetrics:
    """Pick our gauges out of a Prometheus text; those of several engines are added up."""
    sums: dict[str, float] = {}
    tokens: int | None = None
    use: list[float] = []
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
            if sample.name == "vllm:kv_cache_usage_perc":
                use.append(sample.value)
            if (
                sample.name == "vllm:cache_config_info"
                and (found := _cache_tokens(sample.labels)) is not None
            ):
                tokens = found + (tokens or 0)

    def whole(name: str) -> int | None:
        return int(sums[name]) if name in sums else None

    return EngineMetrics(
        running=whole("vllm:num_requests_running"),
        waiting=whole("vllm:num_requests_waiting"),
        kv_usage=sum(use) / len(use) if use else None,
        kv_cache_tokens=tokens,
    )


def _cache_tokens(labels: Mapping[str, str]) -> int | None:
    """The cache's tokens as vLLM says them; blocks times size where it does not, as without mixed windows."""
    said = labels.get("kv_cache_size_tokens", "")
    if said.isdigit():
        return int(said)
    blocks, size = labels.get("num_gpu_blocks", ""), labels.get("block_size", "")
    return int(blocks) * int(size) if blocks.isdigit() and size.isdigit() else None
