"""OpenTelemetry spans, sent when an endpoint is set; otherwise nothing is imported.

A request's spans are made when it has ended, from the times that were noted meanwhile: the request, and
below it retrieval, reranking and generation. A client's `traceparent` is their parent. Attribute names are
those of OpenTelemetry's semantic conventions for HTTP and generative AI where they have one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantserve.rag.server.exchange import AnswerRecord, Exchange

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer

_TIMEOUT_S = 5


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

    def request(self, exchange: Exchange) -> None:
        """Make the spans of a request that has ended."""
        if self._tracer is None or exchange.answer is None:
            return
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        span = self._tracer.start_span(
            f"{exchange.method} {exchange.route}",
            context=extract(dict(exchange.headers)),
            kind=SpanKind.SERVER,
            start_time=exchange.began_ns,
            attributes={
                "http.request.method": exchange.method,
                "http.route": exchange.route,
                "http.response.status_code": exchange.status,
                "quantserve.request_id": exchange.request_id,
                **_attributes(exchange.answer),
            },
        )
        if exchange.reason:
            span.set_status(Status(StatusCode.ERROR, exchange.reason))
        self._stages(exchange.answer, set_span_in_context(span))
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
