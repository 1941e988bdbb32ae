"""The launcher's facts as Prometheus metrics: in the engine's /metrics, or alone in the stand-in's."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from quantserve.serving.guard.settings import Artifact
from quantserve.serving.supervise.facts import Facts


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
