"""What is written down: log, metrics, spans."""

from __future__ import annotations

import hashlib
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families

from quantserve.core.errors import UsageError
from quantserve.rag.embedding.backend import Embedder
from quantserve.rag.server.observability import WandbLog
from tests.fakes.openai_server import Behaviour, FakeServer
from tests.integration.rag.answering.bench import judging
from tests.integration.rag.server.conftest import Served, serving, until

QUESTION = "Where are the spare bulbs kept?"
ASK: Any = [{"role": "user", "content": QUESTION}]


class Collector:
    """An OTLP HTTP receiver."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                assert self.path == "/v1/traces"
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        collector.spans.extend(scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    running = Collector()
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture(scope="module")
def observed(
    small_index: Path, tmp_path_factory: pytest.TempPathFactory, embedder: Embedder, collector: Collector
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("observed")
    shutil.copytree(small_index / "index", folder / "index", symlinks=True)
    behaviour = Behaviour(model="Qwen-test", answer="They are kept in the cellar [1][9].")
    with (
        FakeServer(behaviour) as model,
        serving(folder, embedder, model.base_url, otlp_endpoint=collector.url, log_bytes=20_000) as running,
    ):
        yield running


def lines(served: Served) -> list[dict[str, Any]]:
    return [json.loads(line) for line in served.log.read_text(encoding="utf-8").splitlines()]


def test_a_question_is_one_line_without_its_words(observed: Served) -> None:
    observed.client().chat.completions.create(
        model="quantserve-rag", messages=ASK, extra_headers={"x-request-id": "line-1"}
    )
    until(lambda: any(entry.get("request_id") == "line-1" for entry in lines(observed)))
    (entry,) = [entry for entry in lines(observed) if entry.get("request_id") == "line-1"]
    assert entry["question_sha256"] == hashlib.sha256(QUESTION.encode()).hexdigest()[:32]
    assert (entry["status"], entry["mode"], entry["model"]) == (200, "generate", "Qwen-test")
    assert entry["passages"][0]["score"] > 0
    assert {"retrieve", "generate", "ttft"} <= set(entry["stages"])
    assert entry["completion_tokens"] == 7
    assert entry["invented_citations"] == 1
    assert {"cached", "guard", "generation"} <= set(entry)
    text = observed.log.read_text(encoding="utf-8")
    assert "bulbs" not in text
    assert "cellar" not in text


def test_the_log_is_rotated_by_size(observed: Served) -> None:
    with observed.http() as http:
        for _ in range(150):
            http.get("/documents")
    until(lambda: observed.log.with_name("rag.jsonl.1").exists())
    assert observed.log.stat().st_size <= 20_000
    assert observed.log.stat().st_mode & 0o077 == 0


def test_metrics_keep_the_stages_apart(observed: Served) -> None:
    observed.client().chat.completions.create(model="quantserve-rag", messages=ASK)
    with observed.http() as http:
        http.get("/passages/0")
        families = {
            family.name: {(s.name, *sorted(s.labels.values())): s.value for s in family.samples}
            for family in text_string_to_metric_families(http.get("/metrics").text)
        }
    for name in ("rag_retrieval_seconds", "rag_generation_seconds", "rag_time_to_first_token_seconds"):
        assert families[name][f"{name}_count",] >= 1, name
        assert families[name][f"{name}_sum",] > 0, name
    assert {"rag_rerank_seconds", "rag_cache_seconds", "rag_extract_seconds"} <= set(families)
    assert families["rag_answers"]["rag_answers_total", "en", "generate"] >= 1
    assert families["rag_tokens"]["rag_tokens_total", "completion"] >= 7
    assert families["rag_invented_citations"]["rag_invented_citations_total",] >= 1
    assert families["rag_refused"]["rag_refused_total", "no_passage"] >= 1
    assert families["rag_index_documents"]["rag_index_documents",] == 2
    assert families["rag_requests"]["rag_requests_total", "/passages/{identity}", "404"] >= 1


def test_the_caches_hits_are_counted_by_kind(
    small_index: Path, tmp_path: Path, embedder: Embedder, collector: Collector
) -> None:
    shutil.copytree(small_index / "index", tmp_path / "index", symlinks=True)
    with (
        FakeServer(
            Behaviour(
                model="Qwen-test",
                answer="They are kept in the cellar [1].",
                answers=judging((QUESTION, "Where are spare bulbs kept?")),
            )
        ) as model,
        serving(tmp_path, embedder, model.base_url, cache=True) as cached,
    ):
        client = cached.client()
        asked = (QUESTION, QUESTION, "Where are spare bulbs kept?", "Where are spare bulbs not kept?")
        replies = [
            client.chat.completions.create(
                model="quantserve-rag", messages=[{"role": "user", "content": question}]
            )
            for question in asked
        ]
        told: list[Any] = [(reply.model_extra or {})["quantserve"]["cached"] for reply in replies]
        assert told == ["", "exact", "semantic", ""]
        assert sum("response_format" not in chat.body for chat in model.chats) == 2
        until(lambda: sum("judged" in entry for entry in lines(cached)) == 4)
        judged = [entry["judged"] for entry in lines(cached) if "judged" in entry]
        assert judged == [[], [], ["confirmed"], ["rejected"]]
        with cached.http() as http:
            page = http.get("/metrics").text
    for outcome, count in (("miss", 2), ("exact", 1), ("semantic", 1)):
        assert f'rag_cache_total{{outcome="{outcome}"}} {count}.0' in page
    for outcome in ("confirmed", "rejected"):
        assert f'rag_cache_judged_total{{outcome="{outcome}"}} 1.0' in page
    assert "rag_cache_seconds_count 4.0" in page
    assert "rag_cache_judge_seconds_count 3.0" in page  # not where the exact one was found


def test_spans_of_a_question_hang_below_the_clients(observed: Served, collector: Collector) -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    observed.client().chat.completions.create(
        model="quantserve-rag", messages=ASK, extra_headers={"traceparent": f"00-{trace}-{parent}-01"}
    )
    observed.service.tracing.flush()
    until(lambda: any(span.parent_span_id.hex() == parent for span in collector.spans))
    (request,) = [span for span in collector.spans if span.parent_span_id.hex() == parent]
    assert request.name == "POST /v1/chat/completions"
    assert request.trace_id.hex() == trace
    attributes = {item.key: item.value for item in request.attributes}
    assert attributes["gen_ai.usage.output_tokens"].int_value == 7
    assert attributes["http.response.status_code"].int_value == 200
    below = {s.name: s for s in collector.spans if s.parent_span_id == request.span_id}
    assert set(below) == {"retrieve", "generate"}
    for span in below.values():
        assert request.start_time_unix_nano <= span.start_time_unix_nano < span.end_time_unix_nano
        assert span.end_time_unix_nano <= request.end_time_unix_nano
    assert below["retrieve"].end_time_unix_nano <= below["generate"].start_time_unix_nano + 1_000_000


def test_wandb_is_asked_for_by_name_only_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(UsageError, match="--wandb needs the package wandb, which is not installed"):
        WandbLog("project")
