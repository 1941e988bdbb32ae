"""serve, doctor, keys and chat as programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from openai import OpenAI

from tests.fakes.openai_server import FakeServer
from tests.integration.rag.conftest import MODEL, ROOT


def rag(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "quantserve.rag", *arguments],
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "EMBED_MODEL": str(MODEL)},
    )


def test_serve_says_where_answers_and_ends_when_told(
    small_index: Path, tmp_path: Path, answering: FakeServer
) -> None:
    command = [
        sys.executable,
        "-m",
        "quantserve.rag",
        "serve",
        "--port",
        "0",
        "--json",
        "--base-url",
        answering.base_url,
    ]
    folders = ["--index-dir", str(small_index / "index"), "--upload-dir", str(tmp_path / "uploads")]
    with subprocess.Popen(
        [*command, *folders, "--log", str(tmp_path / "rag.jsonl")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "EMBED_MODEL": str(MODEL), "RAG_KEYS": ""},
    ) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        said = json.loads(server.stdout.readline())
        client = OpenAI(base_url=said["base_url"], api_key="none", timeout=60)
        reply = client.chat.completions.create(
            model=said["model"], messages=[{"role": "user", "content": "Where are the spare bulbs?"}]
        )
        assert reply.choices[0].message.content == "They are kept in the cellar [1]."
        server.send_signal(signal.SIGTERM)
        words = server.stderr.read()
        server.wait(timeout=60)
    assert "no keys: everybody on this machine may ask" in words
    assert "Traceback" not in words
    assert (tmp_path / "rag.jsonl").read_text(encoding="utf-8").count("question_sha256") == 1


def test_a_taken_port_is_one_line(answering: FakeServer, tmp_path: Path) -> None:
    done = rag("serve", "--port", str(answering.port), "--no-log", "--index-dir", str(tmp_path))
    assert done.returncode == 6
    assert f"port {answering.port} on 127.0.0.1 is taken. Choose another: --port" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_finds_everything_well(small_index: Path, tmp_path: Path, answering: FakeServer) -> None:
    done = rag(
        "doctor",
        "--json",
        *("--index-dir", str(small_index / "index")),
        *("--base-url", answering.base_url),
        *("--upload-dir", str(tmp_path)),
        *("--port", "21599"),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ok"] is True
    words = " ".join(finding["what"] for finding in found["findings"])
    for part in ("384 numbers", "2 documents", "Qwen-test", "nobody is indexing", "port 21599"):
        assert part in words


def test_doctor_says_what_is_missing_and_how_to_mend_it(tmp_path: Path) -> None:
    done = rag(
        "doctor",
        "--json",
        *("--index-dir", str(tmp_path / "none")),
        *("--embedding-model", str(tmp_path / "none")),
        *("--base-url", "http://127.0.0.1:9/v1"),
        *("--host", "0.0.0.0", "--port", "21598"),
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    found = json.loads(done.stdout)
    bad = [finding for finding in found["findings"] if finding["level"] != "ok"]
    assert len(bad) == 4
    assert all(finding["mend"] for finding in bad)


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    file = str(tmp_path / "keys.json")
    made = json.loads(rag("keys", "create", "alice", "--keys", file, "--json").stdout)
    assert made["key"].startswith("rag-")
    (listed,) = json.loads(rag("keys", "list", "--keys", file, "--json").stdout)["keys"]
    assert (listed["name"], "sha256" in listed) == ("alice", False)
    gone = json.loads(rag("keys", "revoke", "alice", "--keys", file, "--json").stdout)
    assert gone == {"id": listed["id"], "name": "alice"}
    assert rag("keys", "revoke", "alice", "--keys", file).returncode == 2


@pytest.mark.parametrize("ending", ["종료\n", ""])
def test_chat_in_json_is_a_line_in_and_an_object_out(
    small_index: Path, answering: FakeServer, ending: str
) -> None:
    answering.change(statuses=(200, 400))
    lines = f"Where are the spare bulbs?\n\nAnd in fog?\nWhat does the horn do?\n{ending}"
    where = ("--index-dir", str(small_index / "index"), "--base-url", answering.base_url)
    done = rag("chat", "--json", *where, stdin=lines)
    assert done.returncode == 0, done.stderr
    first, failed, last = (json.loads(line) for line in done.stdout.splitlines())
    assert first["answer"] == "They are kept in the cellar [1]."
    assert "refused with status 400" in failed["error"]
    assert failed["passages"]
    assert last["mode"] == "extract"  # the model says of bulbs what was asked of the horn
    sent = answering.chats[-1].body["messages"]
    assert sent[1]["content"] == "Where are the spare bulbs?"
    assert sent[2]["content"].startswith("They are kept in the cellar")
