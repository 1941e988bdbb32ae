"""A batch and the Python lists against a real server on a socket that fails on demand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from quantserve.serving import offline
from quantserve.serving.__main__ import app
from quantserve.serving.batch.run import BatchOptions, BatchResult, run_batch
from quantserve.serving.errors import NotRunning, ServingError
from tests.fakes.openai_server import Behaviour, FakeServer

FAST = BatchOptions(concurrency=4, retries=2, timeout_s=20)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(Behaviour(answer="fine", retry_after_s=0.05)) as running:
        yield running


def write(path: Path, count: int, *more: str) -> Path:
    lines = [
        json.dumps(
            {
                "custom_id": f"id-{number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": "fake-model", "messages": [{"role": "user", "content": f"say {number}"}]},
            }
        )
        for number in range(count)
    ]
    path.write_text("\n".join([*lines, *more]) + "\n", encoding="utf-8")
    return path


def read(path: Path) -> dict[str | None, dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len({line["custom_id"] for line in lines}) == len(lines)
    return {line["custom_id"]: line for line in lines}


def run(source: Path, out: Path, server: FakeServer, options: BatchOptions = FAST) -> BatchResult:
    return run_batch(source, out, server.base_url, "key", options)


def test_every_line_has_its_answer_and_the_key_is_sent(tmp_path: Path, server: FakeServer) -> None:
    result = run(write(tmp_path / "in.jsonl", 20), tmp_path / "out.jsonl", server)
    assert (result.answered, result.lines) == (20, 20)
    answers = read(tmp_path / "out.jsonl")
    assert answers.keys() == {f"id-{number}" for number in range(20)}
    response = answers["id-7"]["response"]
    assert response["status_code"] == 200
    assert response["body"]["choices"][0]["message"]["content"] == "fine"
    assert server.chats[0].headers["authorization"] == "Bearer key"


def test_never_more_at_once_than_allowed(tmp_path: Path, server: FakeServer) -> None:
    server.change(hang=True)
    with pytest.raises(ServingError, match="gone"):
        run(
            write(tmp_path / "in.jsonl", 9),
            tmp_path / "out.jsonl",
            server,
            BatchOptions(concurrency=3, retries=0, timeout_s=0.5),
        )
    assert len(server.chats) == 3


def test_busy_server_is_asked_again(tmp_path: Path, server: FakeServer) -> None:
    server.change(statuses=(429, 503, 500))
    result = run(write(tmp_path / "in.jsonl", 1), tmp_path / "out.jsonl", server, BatchOptions(1, 3, 20))
    assert (result.answered, len(server.chats)) == (1, 4)


def test_refusal_is_an_answer_and_a_failure_is_asked_again_by_the_next_run(
    tmp_path: Path, server: FakeServer
) -> None:
    server.change(statuses=(400, 500))
    source, out = write(tmp_path / "in.jsonl", 3), tmp_path / "out.jsonl"
    result = run(source, out, server, BatchOptions(1, 0, 20))
    assert (result.answered, result.refused) == (1, 2)
    assert [line["response"]["status_code"] for line in read(out).values()] == [400, 500, 200]
    again = run(source, out, server)
    assert (again.skipped, again.answered) == (2, 1)
    assert read(out)["id-1"]["response"]["status_code"] == 200
    assert len(server.chats) == 4


def test_bad_lines_are_errors_of_the_output(tmp_path: Path, server: FakeServer) -> None:
    twice = json.dumps({"custom_id": "id-0", "url": "/v1/completions", "body": {}})
    elsewhere = json.dumps({"custom_id": "w", "url": "/admin", "body": {}})
    source = write(tmp_path / "in.jsonl", 1, "{no json", "", elsewhere)
    result = run(source, tmp_path / "out.jsonl", server)
    assert (result.answered, result.bad_lines) == (1, 2)
    answers = read(tmp_path / "out.jsonl")
    assert answers[None]["error"]["message"].startswith("line 2 is not JSON")
    assert answers["w"]["error"]["code"] == "invalid_url"
    assert len(server.chats) == 1
    doubled = run(write(tmp_path / "twice.jsonl", 1, twice), tmp_path / "twice-out.jsonl", server)
    assert (doubled.answered, doubled.bad_lines) == (1, 1)


def test_server_that_goes_away_leaves_a_file_to_go_on_with(tmp_path: Path) -> None:
    source, out = write(tmp_path / "in.jsonl", 6), tmp_path / "out.jsonl"
    with FakeServer(Behaviour(answer="fine")) as first:
        run(write(tmp_path / "part.jsonl", 2), out, first)
        gone = first.base_url
    with pytest.raises(ServingError, match="run this again"):
        run_batch(source, out, gone, "key", BatchOptions(2, 0, 5))
    with out.open("a", encoding="utf-8") as stream:
        stream.write('{"id": "batch_req_x", "custom_id": "id-2", "resp')
    with FakeServer(Behaviour(answer="fine")) as second:
        result = run(source, out, second)
        assert (result.skipped, result.answered, len(second.chats)) == (2, 4, 4)
    assert len(read(out)) == 6


def test_command_counts_and_ends_with_1_when_a_line_was_bad(tmp_path: Path, server: FakeServer) -> None:
    source = write(tmp_path / "in.jsonl", 2, "{no json")
    words = ["batch", str(source), str(tmp_path / "out.jsonl"), "--base-url", server.base_url]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1, done.output
    counts = json.loads(done.stdout.splitlines()[-1])
    assert (counts["answered"], counts["bad_lines"], counts["lines"]) == (2, 1, 3)
    source = write(tmp_path / "in.jsonl", 2)
    assert CliRunner().invoke(app, words).exit_code == 0


def test_lists_keep_their_order(server: FakeServer) -> None:
    server.change(answer="one two three", ttft_s=0.01)
    model = offline.connect(server.base_url, concurrency=8)
    assert model.name == "fake-model"
    assert model.chat(["a", [{"role": "user", "content": "b"}]], max_tokens=1) == ["one", "one"]
    prompts = [f"prompt {number}" for number in range(20)]
    assert model.complete(prompts, max_tokens=2) == ["one two"] * 20
    asked = [chat.body["prompt"] for chat in server.chats if "prompt" in chat.body]
    assert sorted(asked) == sorted(prompts)


def test_entry_that_is_refused_is_named(server: FakeServer) -> None:
    server.change(statuses=(200, 400))
    with pytest.raises(ServingError, match="entry 1 was not answered"):
        offline.connect(server.base_url, concurrency=1).complete(["a", "b"])


def test_no_server_says_how_to_start_one() -> None:
    with pytest.raises(NotRunning, match="serving up"):
        offline.connect("http://127.0.0.1:9/v1")


def test_importing_the_package_and_its_lists_is_light() -> None:
    program = (
        "import sys; import serving; from quantserve.serving import offline; print('openai' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
