"""The three older ways to batch, on a tiny model in the serving environment's transformers."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from quantserve.benchmarks import servers
from quantserve.benchmarks.load.plan import Task, Turn
from quantserve.benchmarks.peers import commands
from quantserve.benchmarks.records import Record
from tests.integration.benchmarks.driving import drive


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    directory = tmp_path_factory.mktemp("tiny")
    maker = Path(__file__).with_name("tiny_model.py")
    subprocess.run([servers.serving_python(), str(maker), str(directory)], check=True, timeout=120)
    port = servers.free_port()
    argv = commands.transformers(str(directory), "tiny", port, "float32")
    with servers.command(argv, {}, port, "tiny") as ready:
        yield ready


def ask(
    server: servers.Server, mode: str, batch: int, lengths: list[int], window_s: float = 0.2
) -> list[Record]:
    url = server.base_url.removesuffix("/v1") + "/configure"
    body = {"mode": mode, "batch": batch, "window_s": window_s}
    httpx.post(url, json=body, timeout=10, trust_env=False).raise_for_status()
    work = [Task(n, [Turn("w1 w2 w3 " * (n + 1), length)]) for n, length in enumerate(lengths)]
    records = drive(server.base_url, work, len(lengths))
    found = sorted(records.records, key=lambda r: r.task)
    assert [r.detail for r in found if not r.ok] == []
    return found


def extra(record: Record, name: str) -> float:
    assert record.extra is not None
    return float(record.extra[name])


def test_one_at_a_time_never_shares(server: servers.Server) -> None:
    records = ask(server, "single", 1, [8, 8, 8])
    assert {extra(r, "batch_size") for r in records} == {1}
    stays = sorted((extra(r, "began_s"), extra(r, "ended_s")) for r in records)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(stays))


def test_a_static_batch_waits_for_all_and_ends_together(server: servers.Server) -> None:
    records = ask(server, "static", 3, [4, 40, 8])
    assert {extra(r, "batch_size") for r in records} == {3}
    assert len({extra(r, "ended_s") for r in records}) == 1
    assert [r.completion_tokens for r in records] == [4, 40, 8]
    assert {extra(r, "steps") for r in records} == {40}
    assert extra(records[0], "own_end_s") < extra(records[1], "own_end_s")


def test_a_batch_is_padded_to_its_longest_prompt(server: servers.Server) -> None:
    records = ask(server, "static", 3, [4, 4, 4])
    assert [r.prompt_tokens for r in records] == [3, 6, 9]
    assert {extra(r, "padded_prompt_tokens") for r in records} == {9}


def test_a_dynamic_batch_takes_what_came_in_its_window(server: servers.Server) -> None:
    records = ask(server, "dynamic", 8, [4, 4, 4])
    assert {extra(r, "batch_size") for r in records} == {3}


def test_a_dynamic_batch_is_bounded(server: servers.Server) -> None:
    records = ask(server, "dynamic", 2, [4, 4, 4, 4])
    assert {extra(r, "batch_size") for r in records} == {2}


def test_padding_does_not_change_the_answer(server: servers.Server) -> None:
    """The same prompt alone, and beside one three times as long, with greedy decoding."""
    root = server.base_url.removesuffix("/v1")
    body = {"model": "tiny", "max_tokens": 12, "ignore_eos": True}
    short, long = {**body, "prompt": "w5 w9 w7"}, {**body, "prompt": "w5 w9 w7 " * 3}

    def text(prompt: dict[str, object]) -> str:
        reply = httpx.post(f"{server.base_url}/completions", json=prompt, timeout=30, trust_env=False)
        return str(reply.json()["choices"][0]["text"])

    httpx.post(f"{root}/configure", json={"mode": "single"}, trust_env=False)
    alone = text(short)
    httpx.post(f"{root}/configure", json={"mode": "static", "batch": 2}, trust_env=False)
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(text, [short, long]))
    assert together[0] == alone
    assert len(alone.split()) > 3


def test_an_unknown_way_is_refused(server: servers.Server) -> None:
    reply = httpx.post(
        server.base_url.removesuffix("/v1") + "/configure", json={"mode": "magic"}, trust_env=False
    )
    assert reply.status_code == 400
