"""What is told of requests: Prometheus metrics, a line of the log, OpenTelemetry spans, Weights & Biases.

Never a question, a document's text or a key. Spans are sent when an endpoint is set, and rows when a project
is named; otherwise nothing is imported for them.

A request's spans are made when it has ended, from the times that were noted meanwhile: the request, and
below it retrieval, reranking and generation. A client's `traceparent` is their parent. Attribute names are
those of OpenTelemetry's semantic conventions for HTTP and generative AI where they have one.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from quantserve.core.errors import UsageError
from quantserve.core.http.admission import Places
from quantserve.core.http.private_log import redact, timestamp
from quantserve.rag.server.engine import AnswerEngine
from quantserve.rag.server.gate import AnswerExchange, AnswerRecord
from quantserve.rag.server.indexing.jobs import IndexJob

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)
_SEARCH_STAGES = ("embed", "dense", "bm25", "mmr", "passages")
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
_TIMEOUT_S = 5


class Metrics:
    """All of them, in a registry of their own, so that two servers in one process do not mix."""

    def __init__(self, engine: AnswerEngine, room: Places) -> None:
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

    def request(self, exchange: AnswerExchange) -> None:
        """Count a request that has ended."""
        route = exchange.route or "none"
        self._requests.labels(route, str(exchange.status or 0)).inc()
        self._request_seconds.labels(route).observe(exchange.seconds)
        if exchange.code:
            self._refused.labels(exchange.code).inc()
        if exchange.record is not None:
            self._answer(exchange.record)

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

    def job(self, job: IndexJob) -> None:
        """Count an indexing job that has ended."""
        self._jobs.labels(job.kind, job.state).inc()
        if job.seconds is not None:
            self._job_seconds.observe(job.seconds)


def entry_of(exchange: AnswerExchange) -> dict[str, Any]:
    """Return what is written of a request: never a question, a document's text or a key."""
    entry: dict[str, Any] = {
        "time": timestamp(exchange.began_ns / 1e9),
        "request_id": redact(exchange.id),
        "method": exchange.method,
        "path": redact(exchange.path),
        "status": exchange.status or 0,
        "seconds": round(exchange.seconds, 4),
    }
    if exchange.key:
        entry["key"] = exchange.key
    if exchange.code:
        entry["reason"] = exchange.code
    if (answer := exchange.record) is not None:
        entry |= {
            "question_sha256": answer.question_sha256,
            "passages": [{"id": identity, "score": round(score, 6)} for identity, score in answer.passages],
            "stages": answer.seconds,
            "mode": answer.mode,
            "language": answer.language,
            "model": answer.model,
            "generation": answer.generation,
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "cached": answer.cached,
            "judged": list(answer.judged),
            "guard": answer.guard,
            "invented_citations": answer.invented_citations,
            "notes": list(answer.notes),
            "client_left": answer.client_left,
        }
    return entry


def is_logged(exchange: AnswerExchange) -> bool:
    """Whether a request is written down; probes and the page's own files are not."""
    return exchange.path not in _QUIET and not exchange.path.startswith("/static/")


class Tracing:
    """Sends spans to one OTLP HTTP endpoint, in batches by a thread."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint` is the collector's base URL, such as http://127.0.0.1:4318; empty: no spans."""
        self._tracer: Tracer | None = None
        if not endpoint:
            return
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._provider = TracerProvider(resource=Resource.create({"service.name": "quantserve-rag"}))
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("quantserve.rag")

    def request(self, exchange: AnswerExchange) -> None:
        """Make the spans of a request that has ended."""
        if self._tracer is None or exchange.record is None:
            return
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        span = self._tracer.start_span(
            f"{exchange.method} {exchange.route}",
            context=extract(_text_headers(exchange)),
            kind=SpanKind.SERVER,
            start_time=exchange.began_ns,
            attributes={
                "http.request.method": exchange.method,
                "http.route": exchange.route,
                "http.response.status_code": exchange.status or 0,
                "quantserve.request_id": exchange.id,
                **_attributes(exchange.record),
            },
        )
        if exchange.code:
            span.set_status(Status(StatusCode.ERROR, exchange.code))
        self._stages(exchange.record, set_span_in_context(span))
        span.end(exchange.began_ns + int(exchange.seconds * 1e9))

    def _stages(self, answer: AnswerRecord, parent: Context) -> None:
        times = answer.times
        if self._tracer is None or times is None:
            return

        def stage(name: str, start: int, end: int) -> None:
            if self._tracer is not None:
                self._tracer.start_span(name, context=parent, start_time=start).end(end)

        if times.passages is not None:
            stage("retrieve", times.began, times.passages)
            if rerank := answer.seconds.get("rerank"):
                stage("rerank", times.passages - int(rerank * 1e9), times.passages)
        generate = answer.seconds.get("generate")
        if generate and times.ended is not None:
            stage("generate", times.ended - int(generate * 1e9), times.ended)

    def flush(self) -> None:
        """Send what waits now."""
        if self._tracer is not None:
            self._provider.force_flush()

    def close(self) -> None:
        """Send what waits."""
        if self._tracer is not None:
            self._provider.shutdown()
            self._tracer = None


def _attributes(answer: AnswerRecord) -> dict[str, str | int]:
    found: dict[str, str | int] = {
        "gen_ai.operation.name": "chat" if answer.mode else "search",
        "gen_ai.request.model": answer.model,
        "quantserve.mode": answer.mode,
        "quantserve.cached": answer.cached,
        "quantserve.guard": answer.guard,
        "quantserve.index.generation": answer.generation,
        "quantserve.question_sha256": answer.question_sha256,
    }
    if answer.prompt_tokens is not None:
        found["gen_ai.usage.input_tokens"] = answer.prompt_tokens
    if answer.completion_tokens is not None:
        found["gen_ai.usage.output_tokens"] = answer.completion_tokens
    return found


def _text_headers(exchange: AnswerExchange) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in exchange.headers.items()}


class WandbLog:
    """Logs to one run; without a project nothing is imported."""

    def __init__(self, project: str) -> None:
        """Begin a run.

        Raises:
            UsageError: wandb is not installed.
        """
        self._run: Any = None
        if not project:
            return
        try:
            wandb = importlib.import_module("wandb")
        except ImportError as error:
            raise UsageError(
                "--wandb needs the package wandb, which is not installed",
                mend="Install requirements/wandb.in into .venvs/rag, or leave --wandb out",
            ) from error
        self._run = wandb.init(project=project, job_type="rag-serve")

    def request(self, exchange: AnswerExchange) -> None:
        """Log an answer's figures."""
        answer = exchange.record
        if self._run is None or answer is None:
            return
        row: dict[str, float | int] = {"seconds/request": exchange.seconds, "status": exchange.status or 0}
        row |= {f"seconds/{stage}": value for stage, value in answer.seconds.items()}
        if answer.prompt_tokens is not None:
            row["tokens/prompt"] = answer.prompt_tokens
        if answer.completion_tokens is not None:
            row["tokens/completion"] = answer.completion_tokens
        row["cached"] = int(bool(answer.cached))
        row["passages"] = len(answer.passages)
        self._run.log(row)

    def close(self) -> None:
        """End the run."""
        if self._run is not None:
            self._run.finish()
            self._run = None
