"""From a cell's samples to the few figures a report shows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


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
