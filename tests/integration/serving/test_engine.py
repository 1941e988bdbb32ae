"""One real engine on a tiny model; the tests run in this order and the last one stops it."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import httpx
import openai
import psutil
import pytest

from tests.integration.serving.conftest import READY_TIMEOUT_S, Server, Serving, wait_for
from tests.integration.serving.guard import fuzz
from tests.integration.serving.load import LongStream, ask_at_once, completion, sample, samples

pytestmark = pytest.mark.engine


def test_ready_file_says_everything_a_program_needs(server: Server) -> None:
    ready = server.ready
    assert ready["status"] == "ready"
    assert ready["url"] == f"http://127.0.0.1:{ready['port']}"
    assert ready["pid"] == server.process.pid
    assert ready["model"] == "tiny"
    assert ready["version"] is None
    assert ready["ready_s"] > 0
    assert "--dtype" in ready["argv"]
    assert ready["env"]["HF_HUB_OFFLINE"] == "1"


def test_kv_cache_is_what_was_planned(server: Server) -> None:
    planned, reported = server.ready["kv_cache_tokens_planned"], server.ready["kv_cache_tokens"]
    assert abs(reported - planned) <= 0.05 * planned


def test_completion_streams(server: Server) -> None:
    client = openai.OpenAI(base_url=server.ready["base_url"], api_key="none", max_retries=0)
    with client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "hello"}],
        max_tokens=8,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    ) as stream:
        chunks = list(stream)
    assert len(chunks) > 3
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 8


@pytest.mark.parametrize(
    ("schema", "status"),
    [
        ({"type": "array", "minItems": 1}, 200),
        ({"type": "array", "minItems": 1000}, 200),
        ({"$ref": "#"}, 400),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}}, 200),
        ({"type": "nope"}, 400),
        ({"type": "string", "pattern": "("}, 400),
        ({"allOf": [{"type": "string", "pattern": f".*w{k}.*"} for k in range(16)]}, 400),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 9, "maxItems": 100_000}, 400),
        (True, 400),
    ],
)
def test_schema_is_followed_or_a_400_whatever_came_first(server: Server, schema: Any, status: int) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, "response_format": form}
    answer = httpx.post(f"{server.ready['base_url']}/chat/completions", json=body, timeout=60)
    assert answer.status_code == status, answer.text
    assert status == 200 or answer.json()["error"]["param"] == "response_format"


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "weather"}}, "auto"]
)
def test_demanded_tools_are_called_by_a_model_that_decides_on_none(server: Server, choice: Any) -> None:
    schema = {"type": "object", "properties": {"city": {"enum": ["Paris"]}}, "required": ["city"]}
    # A random model is held to it by the grammar alone.
    client = openai.OpenAI(base_url=server.ready["base_url"], api_key="none", max_retries=0)
    ask: dict[str, Any] = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "weather?"}],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": schema}}],
        "tool_choice": choice,
        "parallel_tool_calls": False,
        "max_tokens": 200,
    }
    if choice == "auto":
        with pytest.raises(openai.BadRequestError, match="tool_parser in the server's profile") as caught:
            client.chat.completions.create(**ask)
        assert caught.value.code == "no_auto_tools"
        return
    (call,) = client.chat.completions.create(**ask).choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Paris"})


def test_responses_and_messages_answer_and_keep_nothing(server: Server) -> None:
    client = openai.OpenAI(base_url=server.ready["base_url"], api_key="none", max_retries=0)
    answer = client.responses.create(model="tiny", input="hello", max_output_tokens=4)
    assert answer.usage is not None
    assert answer.usage.output_tokens == 4
    events = list(client.responses.create(model="tiny", input="hello", max_output_tokens=4, stream=True))
    assert events[-1].type in ("response.completed", "response.incomplete")
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id)
    with pytest.raises(openai.BadRequestError, match="nothing is stored"):
        client.responses.create(model="tiny", input="hello", previous_response_id=answer.id)
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
    message = httpx.post(f"{server.ready['base_url']}/messages", json=body, timeout=60).json()
    assert message["type"] == "message"
    assert 1 <= message["usage"]["output_tokens"] <= 4  # the model may end by itself


def test_early_leaver_is_counted_as_the_engine_counts(server: Server) -> None:
    url, name = server.ready["url"], "vllm:generation_tokens_total"
    ours = 'quantserve_guard_tokens_total{kind="completion"}'
    before = sample(url, name) - sample(url, ours)
    body = {**completion(480, stream=True), "stream_interval": 1000}
    with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=60) as answer:
        next(answer.iter_lines())
    assert wait_for(lambda: sample(url, "quantserve_guard_sequences") == 0, 20)
    # The supervisor's probe, one token now and then, is the engine's work and no client's.
    assert wait_for(lambda: 0 <= sample(url, name) - sample(url, ours) - before <= 2, 10)


def test_one_model_and_heads_and_another_tasks_path(server: Server) -> None:
    client = openai.OpenAI(base_url=server.ready["base_url"], api_key="none", max_retries=0)
    assert client.models.retrieve("tiny").id == "tiny"
    for path in ("/health", "/metrics", "/v1/models", "/v1/models/tiny"):
        answer = httpx.head(f"{server.ready['url']}{path}", timeout=20)
        assert (answer.status_code, answer.content) == (200, b""), path
    options = httpx.options(f"{server.ready['url']}/metrics", timeout=20)
    assert (options.status_code, options.content) == (204, b"")
    with pytest.raises(openai.NotFoundError, match="this server's model generates text") as caught:
        client.embeddings.create(model="tiny", input="x")
    assert caught.value.code == "wrong_task"


def test_prompt_that_fills_the_window_is_told_so(server: Server) -> None:
    body = {"model": "tiny", "prompt": [5] * 512}
    answer = httpx.post(f"{server.ready['base_url']}/completions", json=body, timeout=60).json()["error"]
    assert "the prompt fills the model's window of 512 tokens" in answer["message"]


def test_answer_does_not_depend_on_who_else_asks(server: Server) -> None:
    def ask() -> str:
        body = {"model": "tiny", "prompt": "The with statement", "max_tokens": 6, "temperature": 0}
        answer = httpx.post(f"{server.ready['base_url']}/completions", json=body, timeout=60)
        return str(answer.json()["choices"][0]["text"])

    assert ask() == ask()


def test_chat_command_talks_and_ends_on_its_word(server: Server, serving: Serving) -> None:
    done = serving(
        "chat",
        "--base-url",
        server.ready["base_url"],
        "--max-tokens",
        "4",
        stdin="hello\n/reset\n종료\nnever\n",
    )
    assert done.returncode == 0, done.stderr
    assert "tiny" in done.stderr
    assert "forgotten" in done.stderr


def test_the_core_is_a_fork_that_computes_itself_on_every_processor(server: Server) -> None:
    engine = psutil.Process(server.ready["engine_pid"])
    (forks,) = (child for child in engine.children() if "ForkServer" in " ".join(child.cmdline()))
    (core,) = forks.children()
    assert "EngineCore" in " ".join(core.cmdline())
    usable = sorted(os.sched_getaffinity(0))
    assert engine.cpu_affinity() == usable
    threads = [os.sched_getaffinity(thread.id) for thread in core.threads()]
    assert {number for bound in threads if len(bound) == 1 for number in bound} == set(usable)
    # the listening socket is the API server's alone
    assert not any(c.laddr.port == server.ready["port"] for c in core.net_connections() if c.laddr)


def worker_is_a_fork_and_alone_is_bound(engine: psutil.Process) -> bool:
    """Is it so with vLLM's own executor, which has the worker in a process of its own?"""
    (forks,) = (child for child in engine.children() if "ForkServer" in " ".join(child.cmdline()))
    core, worker = sorted(forks.children(), key=lambda process: "Worker" in " ".join(process.cmdline()))
    usable = sorted(os.sched_getaffinity(0))
    threads = [os.sched_getaffinity(thread.id) for thread in worker.threads()]
    bound = {number for places in threads if len(places) == 1 for number in places}
    return "Worker" in " ".join(worker.cmdline()) and core.cpu_affinity() == usable and bound == set(usable)


def test_processes_that_wait_sleep_where_engines_share_the_processors(server: Server) -> None:
    body = {"model": "tiny", "prompt": "The", "max_tokens": 4}
    httpx.post(f"{server.ready['base_url']}/completions", json=body, timeout=60)
    family = psutil.Process(server.process.pid).children(recursive=True)

    def spent_s() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in family)

    before = spent_s()
    time.sleep(0.6)  # vLLM alone would keep looking for a second after its last message
    assert spent_s() - before < 0.2


def test_malformed_requests_never_get_a_500_nor_leak(server: Server) -> None:
    def text() -> str:
        body = {"model": "tiny", "prompt": "The with statement", "max_tokens": 6, "temperature": 0}
        answer = httpx.post(f"{server.ready['base_url']}/completions", json=body, timeout=60)
        return str(answer.json()["choices"][0]["text"])

    port, before = server.ready["port"], text()
    fuzz.fuzz(port, 20)  # what the first requests allocate once is no leak
    weight = fuzz.weight_of(server.process.pid)
    tally = fuzz.fuzz(port, fuzz.EXAMPLES)
    assert tally.sent >= 2000
    assert tally.refused > 0.6 * tally.sent, tally.answers
    assert text() == before
    after = fuzz.weight_of(server.process.pid)
    assert after["memory"] < weight["memory"] + fuzz.MOST_GROWTH_BYTES
    assert wait_for(
        lambda: fuzz.weight_of(server.process.pid)["descriptors"] <= weight["descriptors"] + 5, 10
    )
    metrics = httpx.get(f"{server.ready['url']}/metrics", timeout=20).text
    assert "quantserve_guard_sequences 0.0" in metrics


def test_concurrency_of_64(server: Server) -> None:
    assert ask_at_once(server.ready["base_url"], 64, 8) == [(200, 8)] * 64


def test_client_that_leaves_frees_its_slot_within_a_second(server: Server) -> None:
    url = server.ready["url"]
    taken_s = []
    for _ in range(3):  # the best of three: the machine may be busy with something else
        before = sample(url, "vllm:generation_tokens_total")
        body = completion(480, stream=True)
        with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=60) as answer:
            next(answer.iter_lines())
        left = time.perf_counter()
        while sample(url, "vllm:num_requests_running") or sample(url, "quantserve_guard_sequences"):
            assert time.perf_counter() - left < 60
        taken_s.append(time.perf_counter() - left)
        assert sample(url, "vllm:generation_tokens_total") - before < 480  # it did not run to its end
    assert min(taken_s) < 1.0


def test_metrics_of_the_supervisor_stand_beside_the_engines(server: Server) -> None:
    url = server.ready["url"]
    assert sample(url, "vllm:generation_tokens_total") > 0
    assert sample(url, "quantserve_startup_seconds") > 0
    assert sample(url, "quantserve_decode_probe_success") == 1
    assert samples(url, "quantserve_engine_restarts_total") == [("", 0.0)]
    ((labels, _),) = samples(url, "quantserve_artifact_info")
    assert 'name="tiny"' in labels


def test_engine_killed_during_streams_is_an_error_then_503_and_then_serves_again(server: Server) -> None:
    url = server.ready["url"]
    core = next(
        process
        for process in psutil.Process(server.ready["engine_pid"]).children(recursive=True)
        if "EngineCore" in process.name() + "".join(process.cmdline())
    )
    streams = [LongStream(server.ready["base_url"], 480) for _ in range(8)]
    assert wait_for(lambda: all(stream.events for stream in streams), 60)
    core.kill()
    for stream in streams:
        stream.wait()  # none hangs
    # The last one had just begun; a fast machine may have finished the first before the kill.
    assert any(stream.tokens is None for stream in streams)
    refused = httpx.post(f"{url}/v1/completions", json=completion(1), timeout=60)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "restarting")
    assert int(refused.headers["retry-after"]) >= 1
    assert httpx.get(f"{url}/health").status_code == 503

    def serves() -> bool:
        return httpx.post(f"{url}/v1/completions", json=completion(1), timeout=60).status_code == 200

    assert wait_for(serves, READY_TIMEOUT_S)
    assert sample(url, "quantserve_engine_restarts_total") == 1


def test_sigterm_under_load_finishes_streams_refuses_others_and_leaves_nothing(server: Server) -> None:
    url = server.ready["url"]
    family = psutil.Process(server.process.pid).children(recursive=True)
    assert len(family) >= 3
    streams = [LongStream(server.ready["base_url"], 480) for _ in range(24)]
    assert wait_for(lambda: all(stream.events for stream in streams), 60)
    server.process.send_signal(signal.SIGTERM)
    assert wait_for(lambda: httpx.get(f"{url}/health").status_code == 503, 20)
    refused = httpx.post(f"{url}/v1/completions", json=completion(1), timeout=60)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")
    assert "retry-after" in refused.headers
    for stream in streams:
        stream.wait()
    assert [stream.tokens for stream in streams] == [480] * 24
    assert server.process.wait(60) == 0
    assert wait_for(lambda: not any(process.is_running() for process in family), 10)
    assert not server.ready_file.exists()


def test_up_is_idempotent_restart_keeps_the_request_and_a_killed_launcher_leaves_no_process(
    serving: Serving, tiny_model: str, run_dir: str
) -> None:
    several = ("--", "--distributed-executor-backend", "mp")  # one process more that may be left
    words = ("up", tiny_model, "--port", "0", "--run-dir", run_dir, *several)
    first = serving(*words)
    assert first.returncode == 0, first.stderr
    state = json.loads(first.stdout.splitlines()[-1])
    launcher = psutil.Process(state["pid"])
    family = launcher.children(recursive=True)
    try:
        assert worker_is_a_fork_and_alone_is_bound(psutil.Process(state["engine_pid"]))
        again = serving(*words)
        assert json.loads(again.stdout.splitlines()[-1])["pid"] == state["pid"]
        assert "already up" in again.stderr

        status = serving("status", "--json", "--run-dir", run_dir)
        report = json.loads(status.stdout.splitlines()[-1])
        assert (status.returncode, report["ready"], report["model"]) == (0, True, "tiny")
        assert report["requests_running"] == 0
        assert (report["restarts"], report["last_probe"]["ok"]) == (0, True)
        assert "Application startup complete" in serving("logs", "-n", "400", "--run-dir", run_dir).stdout

        restarted = serving("restart", "--run-dir", run_dir)
        assert restarted.returncode == 0, restarted.stderr
        after = json.loads(restarted.stdout.splitlines()[-1])
        assert after["request"] == state["request"]
        assert after["pid"] != state["pid"]
        assert not launcher.is_running()
        launcher = psutil.Process(after["pid"])
        family = launcher.children(recursive=True)
    finally:
        launcher.kill()
    assert wait_for(lambda: not any(process.is_running() for process in family), 15)

    gone = serving("status", "--json", "--run-dir", run_dir)
    assert (gone.returncode, json.loads(gone.stdout)["running"]) == (1, False)
    assert serving("down", "--run-dir", run_dir).returncode == 0
