"""Prometheus metrics: retrieval, reranking, generation and cache apart."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from quantserve.rag.server.engine import Engine
from quantserve.rag.server.exchange import AnswerRecord, Exchange
from quantserve.rag.server.jobs import Job
from quantserve.rag.server.shares import Room

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)
_SEARCH_STAGES = ("embed", "dense", "bm25", "mmr", "passages")


class Metrics:
    """All of them, in a registry of their own, so that two servers in one process do not mix."""

    def __init__(self, engine: Engine, room: Room) -> None:
        """Nothing has happened yet."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)

        def histogram(name: str, what: str, labels: tuple[str, ...] = (), *, slow: bool = False) -> Histogram:
            buckets = _SLOW if slow else _FAST
            return Histogram(name, what, labels, registry=self.registry, buckets=buckets)

        def counter(name: str, what: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(name, what, labels, registry=self.registry)

        self._requests = counter("rag_requests", "Requests", ("route", "status"))
        self._request_seconds = histogram("rag_request_seconds", "Whole requests", ("route",), slow=True)
        self._refused = counter("rag_refused", "Requests refused or failed, by code", ("reason",))
        self._retrieval = histogram("rag_retrieval_seconds", "Retrieval, reranking included")
        self._search_stage = histogram("rag_search_stage_seconds", "Parts of retrieval", ("stage",))
        self._rerank = histogram("rag_rerank_seconds", "Reranking")
        self._ttft = histogram("rag_time_to_first_token_seconds", "From prompt sent to first text", slow=True)
        self._generation = histogram("rag_generation_seconds", "Generation by the model", slow=True)
        self._extract = histogram("rag_extract_seconds", "Choosing sentences to quote")
        self._cache_seconds = histogram("rag_cache_seconds", "Looking for a cached answer")
        self._judge_seconds = histogram(
            "rag_cache_judge_seconds", "Judging close cached questions", slow=True
        )
        self._answers = counter("rag_answers", "Answers", ("mode", "language"))
        self._cache = counter("rag_cache", "Look-ups by outcome: exact, semantic, or miss", ("outcome",))
        self._judged = counter(
            "rag_cache_judged",
            "Close cached questions by what became of them: confirmed, rejected, …",
            ("outcome",),
        )
        self._guard = counter("rag_guard", "Answers a guardrail acted on", ("guard",))
        self._tokens = counter("rag_tokens", "Tokens by the model server's count", ("kind",))
        self._invented = counter("rag_invented_citations", "Citations removed: no such passage")
        self._left = counter("rag_clients_left", "Clients that left before their answer was whole")
        self._jobs = counter("rag_index_jobs", "Indexing jobs", ("kind", "state"))
        self._job_seconds = histogram("rag_index_job_seconds", "Indexing jobs", slow=True)

        def gauge(name: str, what: str) -> Gauge:
            return Gauge(name, what, registry=self.registry)

        gauge("rag_requests_in_flight", "Questions and searches in flight").set_function(lambda: room.taken)
        gauge("rag_index_passages", "Passages in the index that answers").set_function(
            lambda: found.manifest.chunks if (found := engine.loaded) else 0
        )
        gauge("rag_index_documents", "Documents in the index that answers").set_function(
            lambda: len(found.manifest.files) if (found := engine.loaded) else 0
        )

    def page(self) -> bytes:
        """Return the exposition."""
        return generate_latest(self.registry)

    def request(self, exchange: Exchange) -> None:
        """Count a request that has ended."""
        route = exchange.route or "none"
        self._requests.labels(route, str(exchange.status)).inc()
        self._request_seconds.labels(route).observe(exchange.seconds)
        if exchange.reason:
            self._refused.labels(exchange.reason).inc()
        if exchange.answer is not None:
            self._answer(exchange.answer)

    def _answer(self, answer: AnswerRecord) -> None:
        seconds = answer.seconds
        for stage in _SEARCH_STAGES:
            if stage in seconds:
                self._search_stage.labels(stage).observe(seconds[stage])
        one_each = {
            "retrieve": self._retrieval,
            "rerank": self._rerank,
            "ttft": self._ttft,
            "generate": self._generation,
            "extract": self._extract,
            "cache": self._cache_seconds,
            "judge": self._judge_seconds,
        }
        for stage, histogram in one_each.items():
            if stage in seconds:
                histogram.observe(seconds[stage])
        if answer.mode:
            self._answers.labels(answer.mode, answer.language).inc()
        if "cache" in seconds:
            self._cache.labels(answer.cached or "miss").inc()
        for outcome in answer.judged:
            self._judged.labels(outcome).inc()
        if answer.guard:
            self._guard.labels(answer.guard).inc()
        if answer.prompt_tokens is not None:
            self._tokens.labels("prompt").inc(answer.prompt_tokens)
        if answer.completion_tokens is not None:
            self._tokens.labels("completion").inc(answer.completion_tokens)
        self._invented.inc(answer.invented_citations)
        self._left.inc(answer.client_left)

    def job(self, job: Job) -> None:
        """Count an indexing job that has ended."""
        self._jobs.labels(job.kind, job.state).inc()
        if job.seconds is not None:
            self._job_seconds.observe(job.seconds)
