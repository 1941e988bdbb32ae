"""What /metrics shows beside the engine's own: the guard's counts, the launcher's facts; and a port for them.

The counts stand in the registry that vLLM shows. The port is for a collector without a key.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import Counter, Gauge, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from quantserve.core.http.origin import WHY, foreign, is_loopback
from quantserve.serving.guard.launcher_line import Facts
from quantserve.serving.guard.settings import Artifact

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
_PLAIN = ("Content-Type", "text/plain; charset=utf-8")


class FactsCollector(Collector):
    """Reads the facts anew at each scrape."""

    def __init__(self, facts: Callable[[], Facts], artifact: Artifact) -> None:
        """`artifact` is what is served."""
        self._facts = facts
        self._artifact = artifact

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; what is not known yet is left out."""
        facts, artifact = self._facts(), self._artifact
        yield InfoMetricFamily(
            "quantserve_artifact",
            "What is served",
            {
                "name": artifact.name,
                "version": artifact.version or "",
                "method": artifact.method or "",
                "bits": "" if artifact.bits is None else f"{artifact.bits:g}",
                "manifest_sha256": artifact.sha256 or "",
            },
        )
        yield CounterMetricFamily(
            "quantserve_engine_restarts",
            "Engines started again because the one before died or hung",
            facts.restarts,
        )
        yield GaugeMetricFamily(
            "quantserve_serving", "1 while the engine takes requests", float(facts.phase == "serving")
        )
        known = {
            (
                "quantserve_startup_seconds",
                "From the last engine's start to its first token",
            ): facts.startup_s,
            ("quantserve_decode_probe_success", "1 when the last probe decoded its token"): facts.probe_ok,
            ("quantserve_decode_probe_seconds", "Time the last probe's token took"): facts.probe_s,
            ("quantserve_decode_probe_timestamp_seconds", "Unix time of the last probe"): facts.probe_at,
        }
        for (name, text), value in known.items():
            if value is not None:
                yield GaugeMetricFamily(name, text, float(value))


class _MetricsServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """A collector asks every few seconds; nobody reads that."""


def serve_metrics(host: str, port: int) -> None:
    """Answer in a thread. On loopback only the machine's own names are answered, against DNS rebinding."""
    metrics, local = make_wsgi_app(), is_loopback(host)

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        why = foreign(environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")) if local else None
        if why is not None:
            start("403 Forbidden", [_PLAIN])
            return [WHY[why].encode()]
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            start("405 Method Not Allowed", [_PLAIN, ("Allow", "GET, HEAD")])
            return [b"GET or HEAD"]
        answer: Iterable[bytes] = metrics(environ, start)
        return answer

    server = make_server(host, port, application, _MetricsServer, handler_class=_QuietHandler)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
