"""Two copies of the model in one real server: each on its own processor, each asked, each replaced."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from tests.integration.serving.conftest import READY_TIMEOUT_S, Server, wait_for
from tests.integration.serving.load import LongStream, sample

pytestmark = pytest.mark.engine

SERVED = "vllm:request_success_total"


@pytest.fixture(scope="module")
def copied(tiny_model: Path, run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("copies")
    profile = folder / "two.yaml"
    profile.write_text("extends: cpu\ndata_parallel: 2\n", encoding="utf-8")
    server = Server(tiny_model, run_dir, folder / "ready.json", "--profile", str(profile))
    try:
        yield server
    finally:
        server.end()


def engines(server: Server) -> dict[str, psutil.Process]:
    """The processes that compute, by the end of their name."""
    family = psutil.Process(server.process.pid).children(recursive=True)
    titles = {process: " ".join(process.cmdline()).strip() for process in family}
    return {
        title.rpartition("_")[2]: process for process, title in titles.items() if "EngineCore_DP" in title
    }


def ask(server: Server, prompt: str, copy: int | None = None) -> str:
    body = {"model": "tiny", "prompt": prompt, "max_tokens": 4, "temperature": 0}
    headers = {} if copy is None else {"X-data-parallel-rank": str(copy)}
    answer = httpx.post(f"{server.ready['base_url']}/completions", json=body, headers=headers, timeout=60)
    answer.raise_for_status()
    return str(answer.json()["choices"][0]["text"])


def test_each_copy_computes_on_processors_of_its_own(copied: Server) -> None:
    bound = copied.ready["env"]["VLLM_CPU_OMP_THREADS_BIND"].split("|")
    allowed = {name: process.cpu_affinity() for name, process in engines(copied).items()}
    assert allowed == {"DP0": [int(bound[0])], "DP1": [int(bound[1])]}
    assert {process.nice() for process in engines(copied).values()} == {5}  # the API server goes first


def test_the_caches_of_both_were_planned(copied: Server) -> None:
    planned, reported = copied.ready["kv_cache_tokens_planned"], copied.ready["kv_cache_tokens"]
    assert abs(reported - planned) <= 0.05 * planned


def test_both_answer_alike_and_share_what_comes_at_once(copied: Server) -> None:
    prompt = "The with statement"
    assert ask(copied, prompt, 0) == ask(copied, prompt, 1)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: ask(copied, f"{number} is a number"), range(16)))
    served = [sample(copied.ready["url"], SERVED, f'engine="{engine}"') for engine in (0, 1)]
    assert min(served) >= 5


def test_a_copy_that_is_killed_is_there_again(copied: Server) -> None:
    before = engines(copied)
    before["DP1"].kill()
    assert wait_for(lambda: not copied.ready_file.exists(), 60)
    assert wait_for(copied.ready_file.exists, READY_TIMEOUT_S)
    assert json.loads(copied.ready_file.read_text(encoding="utf-8"))["restarts"] == 1
    after = engines(copied)
    assert set(after) == {"DP0", "DP1"}
    assert not any(process.is_running() for process in before.values())
    assert ask(copied, "hello", 1) is not None


def test_a_stop_lets_both_finish(copied: Server) -> None:
    streams = [LongStream(copied.ready["base_url"], 480) for _ in range(8)]
    assert wait_for(lambda: all(stream.events for stream in streams), 60)
    family = psutil.Process(copied.process.pid).children(recursive=True)
    copied.process.send_signal(signal.SIGTERM)
    for stream in streams:
        stream.wait()
    assert [stream.tokens for stream in streams] == [480] * 8
    assert copied.process.wait(60) == 0
    assert wait_for(lambda: not any(process.is_running() for process in family), 10)
