"""What the server and the machine did meanwhile: sampled once in a while beside the load, and summed up.

A sample is a row of plain numbers with the time since the run's epoch: the few series of /metrics that
explain a benchmark, by one name for every vLLM release; the server's process trees; GPUs by nvidia-smi; the
machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from time import monotonic, perf_counter, time
from typing import Any

import httpx

from quantserve.benchmarks import processes

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


def parse_metrics(text: str) -> dict[str, float]:
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


_GPU_QUERY = "power.draw,memory.used,utilization.gpu"


def parse_nvidia_smi(text: str) -> dict[str, float]:
    """Read nvidia-smi's CSV, one line per GPU, added up (use: the highest)."""
    power = memory = use = 0.0
    seen = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        with contextlib.suppress(ValueError, IndexError):
            power += float(cells[0])
            memory += float(cells[1]) * 2**20
            use = max(use, float(cells[2]))
            seen = True
    return {"gpu_power_w": power, "gpu_memory_bytes": memory, "gpu_use_percent": use} if seen else {}


async def _gpu_sample() -> dict[str, float]:
    """One sample; empty without a GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    process = await asyncio.create_subprocess_exec(
        program,
        f"--query-gpu={_GPU_QUERY}",
        "--format=csv,noheader,nounits",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    out, _ = await process.communicate()
    return parse_nvidia_smi(out.decode()) if process.returncode == 0 else {}


Sample = dict[str, Any]


class Sampler:
    """Server metrics, process tree, GPU and machine, in one row per period."""

    def __init__(
        self, base_url: str, pids: Sequence[int], api_key: str | None, period_s: float = 1.0
    ) -> None:
        """`pids` are the roots of the server's process trees on this machine, empty when not known."""
        self._url = base_url.rstrip("/").removesuffix("/v1") + "/metrics"
        self._pids = tuple(pids)
        self._trees = processes.ProcessTrees(pids)
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._period_s = period_s
        self._has_metrics = True

    def local(self, epoch_s: float) -> Sample:
        """What this machine alone knows now: clocks, CPU of machine, client and server."""
        row: Sample = {"t_s": perf_counter() - epoch_s, "wall_s": time(), "monotonic_s": monotonic()}
        row |= processes.machine_sample()
        row["own_cpu_s"] = processes.own_cpu_s(self._pids)
        row |= self._trees.sample()
        return row

    async def one(self, client: httpx.AsyncClient, epoch_s: float) -> Sample:
        """Take one whole sample now."""
        row = self.local(epoch_s)
        row |= await _gpu_sample()
        if self._has_metrics:
            try:
                reply = await client.get(self._url, headers=self._headers)
                self._has_metrics = reply.status_code == 200
                if self._has_metrics:
                    row |= parse_metrics(reply.text)
            except httpx.HTTPError:
                row["metrics_failed"] = 1
        return row

    @contextlib.asynccontextmanager
    async def running(self, epoch_s: float, rows: list[Sample]) -> AsyncIterator[None]:
        """Sample into `rows` inside the block; the first and the last sample are at its borders."""
        async with httpx.AsyncClient(timeout=5.0, trust_env=False) as client:
            rows.append(await self.one(client, epoch_s))

            async def loop() -> None:
                while True:
                    await asyncio.sleep(self._period_s)
                    rows.append(await self.one(client, epoch_s))

            task = asyncio.create_task(loop())
            try:
                yield
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                rows.append(await self.one(client, epoch_s))


def _values(rows: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [row[name] for row in rows if name in row]


def rise(rows: Sequence[dict[str, Any]], name: str) -> float | None:
    """By how much a counter grew; None when it is unknown or was reset."""
    values = _values(rows, name)
    return values[-1] - values[0] if len(values) > 1 and values[-1] >= values[0] else None


def summarise(rows: Sequence[dict[str, Any]], cores: int) -> dict[str, float | None]:
    """Peaks, means and rates over a cell; unknown is None."""
    span = rows[-1]["t_s"] - rows[0]["t_s"] if len(rows) > 1 else 0.0

    def peak(name: str) -> float | None:
        return max(_values(rows, name), default=None)

    def mean(name: str) -> float | None:
        values = _values(rows, name)
        return sum(values) / len(values) if values else None

    def ratio(part: str, whole: str) -> float | None:
        top, bottom = rise(rows, part), rise(rows, whole)
        return top / bottom if top is not None and bottom else None

    def share(name: str) -> float | None:
        spent = rise(rows, name)
        return spent / (span * cores) if spent is not None and span > 0 else None

    server, client, machine = share("cpu_s"), share("own_cpu_s"), share("machine_cpu_s")
    other = None
    if server is not None and client is not None and machine is not None:
        other = max(0.0, machine - server - client)
    power = mean("gpu_power_w")
    return {
        "running_max": peak("running"),
        "running_mean": mean("running"),
        "waiting_max": peak("waiting"),
        "kv_cache_use_max": peak("kv_cache_use"),
        "prefix_hit_share": ratio("prefix_hits", "prefix_queries"),
        "preemptions": rise(rows, "preemptions"),
        "draft_acceptance": ratio("accepted", "drafted"),
        "memory_bytes_max": peak("memory_bytes"),
        "server_cpu_share": server,
        "client_cpu_share": client,
        "other_cpu_share": other,
        "steal_share": share("machine_steal_s"),
        "gpu_power_w_mean": power,
        "gpu_energy_j": None if power is None else power * span,
        "gpu_memory_bytes_max": peak("gpu_memory_bytes"),
    }
