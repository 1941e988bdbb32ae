"""One connection: reads requests, writes each token at its planned time."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

import httptools
import orjson

from tests.fakes_load.behaviour import State
from tests.fakes_load.wire import DONE, HEAD, LAST, MANY, ROLE, TOKEN, chunk, event, token_event


class Connection(asyncio.Protocol):
    """One client connection."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.loop = asyncio.get_running_loop()
        self.transport: Any = None
        self.parser: Any = None
        self.body: list[bytes] = []
        self.path = b""
        self.request_id = ""
        self.gone = False
        self.serving: dict[str, Any] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.gone = True
        if self.serving is not None:
            self.end(None)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.path = url
        self.body = []
        self.request_id = ""

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-request-id":
            self.request_id = value.decode()

    def on_body(self, data: bytes) -> None:
        self.body.append(data)

    def on_message_complete(self) -> None:
        now = perf_counter()
        path = self.path
        if path.endswith(b"/completions"):
            self.complete(now, orjson.loads(b"".join(self.body)))
        elif path == b"/v1/models":
            self.reply(200, {"object": "list", "data": [{"id": "fake", "max_model_len": 8192}]})
        elif path == b"/tokenize" and not self.state.knobs.no_tokenize:
            self.tokenize(orjson.loads(b"".join(self.body)))
        elif path == b"/metrics":
            self.metrics()
        elif path == b"/health":
            self.reply(200, {})
        else:
            self.reply(404, {"error": {"message": "no such path"}})

    def tokenize(self, value: dict[str, Any]) -> None:
        if "messages" in value:
            count = sum(len(message["content"].split()) + 4 for message in value["messages"]) + 3
        else:
            count = len(value["prompt"].split())
        self.reply(200, {"count": count, "max_model_len": 8192, "tokens": list(range(count))})

    def metrics(self) -> None:
        state = self.state
        lines = [
            f'vllm:num_requests_running{{engine="0",model_name="fake"}} {state.running}',
            f'vllm:num_requests_waiting{{engine="0",model_name="fake"}} {len(state.waiting)}',
            f'vllm:prefix_cache_queries_total{{engine="0"}} {state.totals["prompt"]}',
            f'vllm:prefix_cache_hits_total{{engine="0"}} {state.totals["cached"]}',
            f'vllm:num_preemptions_total{{engine="0"}} {state.totals["preempted"]}',
            'vllm:kv_cache_usage_perc{engine="0"} 0.25',
        ]
        self.reply(200, "\n".join(lines).encode(), "text/plain")

    def reply(self, status: int, value: Any, kind: str = "application/json") -> None:
        data = value if isinstance(value, bytes) else orjson.dumps(value)
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
        self.transport.write(head.encode() + data)

    def complete(self, now: float, value: dict[str, Any]) -> None:
        state = self.state
        if state.first_s is None:
            state.first_s = now
        chat = "messages" in value
        text = " ".join(m["content"] for m in value["messages"]) if chat else value["prompt"]
        prompt_tokens = len(text.split())
        state.totals["prompt"] += prompt_tokens
        self.serving = {
            "id": self.request_id,
            "received": now,
            "written": [],
            "chat": chat,
            "n": int(value["max_tokens"]),
            "prompt_tokens": prompt_tokens,
            "each": bool(value.get("stream_options", {}).get("continuous_usage_stats")),
            "fault": state.knobs.failure_kind if state.random.random() < state.knobs.failure_rate else "",
        }
        if state.knobs.slots and state.running >= state.knobs.slots:
            state.waiting.append(self)
        else:
            self.begin(now)

    def begin(self, now: float) -> None:
        state, job = self.state, self.serving
        assert job is not None
        state.running += 1
        fault = job["fault"]
        if fault.startswith("http_"):
            status = int(fault.removeprefix("http_"))
            self.reply(status, {"error": {"message": f"planned {status}"}})
            self.end("failed")
        elif fault == "hang":
            pass
        else:
            self.transport.write(HEAD + (ROLE if job["chat"] else b""))
            self.schedule(now + state.knobs.ttft_ms / 1000, 0)

    def schedule(self, due_s: float, sent: int) -> None:
        due_s = self.state.delayed(due_s)
        left_s = due_s - perf_counter()
        if left_s <= 0:
            self.write(due_s, sent)
        else:
            self.loop.call_later(left_s, self.write, due_s, sent)

    def write(self, due_s: float, sent: int) -> None:
        state, job, knobs = self.state, self.serving, self.state.knobs
        if job is None or self.gone:
            return
        out = []
        n, chat, fault = job["n"], job["chat"], job["fault"]
        if not (knobs.itl_ms or fault or sent or job["each"]) and knobs.chunk_tokens == 1 and n <= 256:
            out, sent = [MANY[chat, n]], n
            self.finish(out, sent)
            return
        while True:
            count = min(knobs.chunk_tokens, n - sent)
            sent += count
            last = sent >= n
            if fault == "empty":
                sent, last = n, True
            elif count > 1 or job["each"]:
                usage = self.usage(job, sent) if job["each"] else None
                out.append(token_event(chat, " word" * count, "length" if last else None, usage))
            else:
                out.append((LAST if last else TOKEN)[chat])
            if fault in {"cut", "garbage", "error_event"} and sent >= n / 2:
                self.break_off(out, fault)
                return
            gap_s = knobs.itl_ms / 1000 * count
            if knobs.jitter:
                gap_s *= 1 + knobs.jitter * (2 * state.random.random() - 1)
            due_s += gap_s
            if last or gap_s > 0:
                break
        if last:
            self.finish(out, sent)
            return
        now = perf_counter()
        self.transport.write(b"".join(out))
        job["written"].append((now, sent))
        self.schedule(due_s, sent)

    def finish(self, out: list[bytes], sent: int) -> None:
        job = self.serving
        assert job is not None
        now = perf_counter()
        if job["fault"] != "no_usage":
            out.append(event({"id": "x", "choices": [], "usage": self.usage(job, sent)}))
        if job["fault"] != "no_done":
            out.append(DONE)
        out.append(b"0\r\n\r\n")
        self.transport.write(b"".join(out))
        job["written"].append((now, sent))
        self.end("done")

    def usage(self, job: dict[str, Any], sent: int) -> dict[str, Any]:
        return {
            "prompt_tokens": job["prompt_tokens"],
            "completion_tokens": sent,
            "total_tokens": sent + job["prompt_tokens"],
        }

    def break_off(self, out: list[bytes], fault: str) -> None:
        if fault == "error_event":
            out.append(event({"error": {"message": "planned", "code": 500}}))
            out.append(DONE + b"0\r\n\r\n")
        elif fault == "garbage":
            out.append(chunk(b"data: {not json\n\n") + b"0\r\n\r\n")
        self.transport.write(b"".join(out))
        if fault == "cut":
            self.transport.close()
        self.end("failed")

    def end(self, outcome: str | None) -> None:
        state, job = self.state, self.serving
        self.serving = None
        if job is None:
            return
        if self in state.waiting:
            state.waiting.remove(self)
            return
        if state.truth is not None and outcome is not None:
            line = {key: job[key] for key in ("id", "received", "written", "n")} | {"outcome": outcome}
            state.truth.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        state.running -= 1
        if state.waiting:
            now = perf_counter()
            state.waiting.popleft().begin(now)
