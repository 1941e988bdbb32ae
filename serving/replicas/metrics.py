"""One /metrics for all replicas: their lines, each labelled with its replica, and the supervisor's own."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

REGISTRY = CollectorRegistry()
REPLICAS = Gauge("quantserve_replicas", "Replicas that get requests", registry=REGISTRY)
RESTARTS = Counter(
    "quantserve_replica_restarts", "Restarts after a death, by part", ("part",), registry=REGISTRY
)
RESENT = Counter(
    "quantserve_front_resent",
    "Requests sent again because a replica was away, before any byte of an answer",
    registry=REGISTRY,
)
GIVEN_UP = Counter(
    "quantserve_front_given_up", "Requests answered 503 after waiting in vain", registry=REGISTRY
)
ROLLED = Counter(
    "quantserve_rolling_restarts", "Rolling restarts by outcome", ("outcome",), registry=REGISTRY
)


def merge(texts: Mapping[str, str]) -> str:
    """Join expositions in Prometheus's text format (version 0.0.4), by replica name, family by family."""
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for replica, text in texts.items():
        family = ""
        for line in text.splitlines():
            if line.startswith("# "):
                family = line.split(" ", 3)[2]
                known = heads.setdefault(family, [])
                if not any(line.split(" ", 2)[1] == other.split(" ", 2)[1] for other in known):
                    known.append(line)
            elif line.strip():
                samples.setdefault(family, []).append(_labelled(line, replica))
    lines: list[str] = []
    for family in {**heads, **samples}:
        lines += [*heads.get(family, ()), *samples.get(family, ())]
    return "".join(f"{line}\n" for line in lines)


def _labelled(sample: str, replica: str) -> str:
    name, brace, rest = sample.partition("{")
    if brace and " " not in name:
        return f'{name}{{replica="{replica}",{rest}'
    name, _, value = sample.partition(" ")
    return f'{name}{{replica="{replica}"}} {value}'
