"""One real engine on a tiny model; the tests run in this order and the last one stops it."""

from __future__ import annotations

import json
import signal
import time

import httpx
import openai
import psutil
import pytest
from prometheus_client import parser as prometheus

from tests.integration.serving.conftest import Server, Serving, wait_for
from tests.integration.serving.guard import fuzz

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


def test_processes_that_wait_sleep(server: Server) -> None:
    body = {"model": "tiny", "prompt": "The", "max_tokens": 4}
    httpx.post(f"{server.ready['base_url']}/completions", json=body, timeout=60)
    family = psutil.Process(server.process.pid).children(recursive=True)

    def spent_s() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in family)

    before = spent_s()
    time.sleep(0.6)  # vLLM alone would keep looking for a second after its last message
    assert spent_s() - before < 0.2


def test_client_that_leaves_frees_the_engine_within_a_second(server: Server) -> None:
    def running() -> float:
        text = httpx.get(f"{server.ready['url']}/metrics", timeout=20).text
        found = prometheus.text_string_to_metric_families(text)
        return sum(s.value for f in found for s in f.samples if s.name == "vllm:num_requests_running")

    body = {"model": "tiny", "prompt": "The", "max_tokens": 400, "ignore_eos": True, "stream": True}
    with httpx.stream("POST", f"{server.ready['base_url']}/completions", json=body, timeout=60) as answer:
        next(answer.iter_lines())
        assert running() == 1
    assert wait_for(lambda: running() == 0, 1.0)


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


def test_sigterm_ends_it_with_code_0_and_leaves_nothing(server: Server) -> None:
    family = psutil.Process(server.process.pid).children(recursive=True)
    assert len(family) >= 3
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0
    assert wait_for(lambda: not any(process.is_running() for process in family), 10)
    assert not server.ready_file.exists()


def test_up_is_idempotent_and_a_killed_launcher_leaves_no_process(
    serving: Serving, tiny_model: str, run_dir: str
) -> None:
    words = ("up", tiny_model, "--port", "0", "--run-dir", run_dir)
    first = serving(*words)
    assert first.returncode == 0, first.stderr
    state = json.loads(first.stdout.splitlines()[-1])
    launcher = psutil.Process(state["pid"])
    family = launcher.children(recursive=True)
    try:
        again = serving(*words)
        assert json.loads(again.stdout.splitlines()[-1])["pid"] == state["pid"]
        assert "already up" in again.stderr

        status = serving("status", "--json", "--run-dir", run_dir)
        report = json.loads(status.stdout.splitlines()[-1])
        assert (status.returncode, report["ready"], report["model"]) == (0, True, "tiny")
        assert report["requests_running"] == 0
        assert "Application startup complete" in serving("logs", "-n", "400", "--run-dir", run_dir).stdout
    finally:
        launcher.kill()
    assert wait_for(lambda: not any(process.is_running() for process in family), 15)

    gone = serving("status", "--json", "--run-dir", run_dir)
    assert (gone.returncode, json.loads(gone.stdout)["running"]) == (1, False)
    assert serving("down", "--run-dir", run_dir).returncode == 0
