"""The guard's own metrics, in the registry that vLLM shows on /metrics."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

DECISIONS = Counter(
    "quantserve_guard_decisions",
    "Requests by endpoint and what the guard decided",
    ("endpoint", "decision"),
)
QUEUE_REFUSALS = Counter(
    "quantserve_guard_queue_refusals", "Requests answered 429 because the queue was full"
)
SEQUENCES = Gauge("quantserve_guard_sequences", "Sequences between admission and the end of their response")
SEQUENCE_LIMIT = Gauge("quantserve_guard_sequence_limit", "Sequences beyond which requests get 429")
TOKENS = Counter("quantserve_guard_tokens", "Tokens by kind, from the engine's usage", ("kind",))
DISCONNECTS = Counter("quantserve_guard_disconnects", "Requests whose client left before the end")
KEYS_PROBLEM = Gauge("quantserve_guard_keys_unreadable", "1 while the keys file cannot be read")
AUDIT_DROPPED = Gauge("quantserve_guard_audit_dropped", "Audit lines lost to a slow disk")
