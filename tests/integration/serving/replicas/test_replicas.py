"""Supervisor and front over servers without engines: what passes, and what survives."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest

from quantserve.core.files import write_json
from quantserve.core.http.key_commands import new_key
from quantserve.core.http.keys import write_keys
from quantserve.serving.guard.paths import KEY_RULES
from tests.integration.serving.conftest import Serving, wait_for
from tests.integration.serving.replicas.streaming import Streamers
from tests.programs import PYTHON, ROOT


class Cluster:
    """A supervisor with two replicas, as a child of the test."""

    def __init__(self, home: Path, target: Path) -> None:
        self.run = home / "run"
        key, self.key = new_key(KEY_RULES, "ann")
        write_keys(self.run / "keys.json", [key])
        words = [str(target), str(self.run), "0", str(self.run / "keys.json")]
        with (self.run / "supervisor.log").open("wb") as log:
            self.process = subprocess.Popen(
                [PYTHON, "-m", "tests.integration.serving.replicas.run_supervisor", *words],
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        ready = self.run / "ready.json"
        assert wait_for(lambda: ready.is_file() or self.process.poll() is not None, 120)
        assert ready.is_file(), self.log
        self.ready: dict[str, Any] = json.loads(ready.read_text())
        self.url: str = self.ready["url"]
        self.client = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=30, trust_env=False
        )

    @property
    def log(self) -> str:
        return (self.run / "supervisor.log").read_text()

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.run / "serving.json").read_text())
        return found

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def ask(self, prompt: str, **more: Any) -> httpx.Response:
        return self.client.post("/v1/completions", json={"model": "tiny", "prompt": prompt, **more})

    def roll(self, target: Path, name: str) -> dict[str, Any]:
        write_json(self.run / "rolling.json", {"id": name, "given": str(target), "target": str(target)})
        self.process.send_signal(signal.SIGUSR1)
        assert wait_for(lambda: (self.rolling(name) or {}).get("status") in ("done", "failed"), 60), self.log
        return self.rolling(name) or {}

    def rolling(self, name: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.state["rolling"]
        return found if found is not None and found["id"] == name else None

    def end(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def versions(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("versions")
    for name in ("v1", "v2", "v3"):
        shutil.copytree(tiny_model, folder / name)
    (folder / "v3" / "broken").touch()
    (folder / "current").symlink_to("v1")
    return folder


def start(versions: Path, home: Path) -> Cluster:
    (home / "run").mkdir()
    return Cluster(home, versions / "current")


@pytest.fixture(scope="module")
def cluster(versions: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = start(versions, tmp_path_factory.mktemp("cluster"))
    yield started
    started.end()


def test_only_the_public_port_is_public_and_replicas_have_their_own_processors(cluster: Cluster) -> None:
    replicas = cluster.ready["replicas"]
    assert len({replica["url"] for replica in replicas}) == 2
    assert all(replica["url"].startswith("http://127.0.0.1:") for replica in replicas)
    listening = [
        connection.laddr.ip
        for process in [psutil.Process(cluster.process.pid), *cluster.family()]
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert set(listening) == {"127.0.0.1"}
    profile = (cluster.run / "replica-1" / "profile.yaml").read_text()
    assert "VLLM_CPU_OMP_THREADS_BIND" in profile


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/add_worker?url=http://127.0.0.1:9"),
        ("POST", "/remove_worker?url=http://127.0.0.1:9"),
        ("GET", "/list_workers"),
        ("GET", "/workers"),
        ("POST", "/workers"),
        ("POST", "/flush_cache"),
        ("GET", "/get_loads"),
        ("GET", "/scheduling/diagnostics"),
        ("POST", "/finish_session?session_id=a"),
        ("GET", "/%6cist_workers"),
        ("GET", "//list_workers"),
        ("GET", "/v1/models/../../list_workers"),
    ],
)
def test_what_is_not_on_the_allow_list_reaches_no_replica(cluster: Cluster, method: str, path: str) -> None:
    response = cluster.client.request(method, path)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "unknown_path"


def test_keys_are_asked_for_behind_the_front(cluster: Cluster) -> None:
    body = {"model": "tiny", "prompt": "a"}
    for header in ({}, {"Authorization": "Bearer wrong"}):
        refused = httpx.post(f"{cluster.url}/v1/completions", json=body, headers=header, trust_env=False)
        assert (refused.status_code, refused.json()["error"]["type"]) == (401, "authentication_error")
    assert cluster.ask("a").status_code == 200
    assert httpx.get(f"{cluster.url}/v1/models", trust_env=False).status_code == 401
    assert cluster.client.get("/v1/models").json()["data"][0]["id"] == "tiny"


def test_a_request_arrives_as_it_was_sent_with_its_address_and_id(cluster: Cluster) -> None:
    raw = (
        b'{"model":"tiny",  "prompt":"\\u00e9", "tools":[{"type":"function","function":{"name":"f",'
        b'"strict":true}}], "response_format":{"type":"structural_tag"}, "odd":1.50}'
    )
    headers = {
        "Authorization": f"Bearer {cluster.key}",
        "Content-Type": "application/json",
        "X-Request-ID": "my-id",
        "X-Forwarded-For": "8.8.8.8",
    }
    far = httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2"), headers=headers)
    answer = far.post(f"{cluster.url}/v1/completions", content=raw)
    assert answer.json()["body"] == raw.decode()
    assert answer.headers["x-request-id"] == "my-id"
    assert wait_for(lambda: audited(cluster, "my-id") is not None, 10)
    line = audited(cluster, "my-id") or {}
    assert (line["client"], line["key"], line["version"]) == ("127.0.0.2", "ann", "v1")


def audited(cluster: Cluster, request_id: str) -> dict[str, Any] | None:
    for file in cluster.run.glob("replica-*/audit.jsonl"):
        for line in file.read_text().splitlines():
            if json.loads(line)["request_id"] == request_id:
                found: dict[str, Any] = json.loads(line)
                return found
    return None


def test_refusals_of_the_guard_pass(cluster: Cluster) -> None:
    headers = {"Content-Type": "application/json"}
    broken = cluster.client.post("/v1/completions", content=b'{"model": NaN', headers=headers)
    assert broken.status_code == 400
    assert broken.json()["error"]["type"] == "invalid_request_error"
    files = {"file": ("a.wav", b"x" * 100)}
    upload = cluster.client.post("/v1/audio/transcriptions", data={"model": "tiny"}, files=files)
    assert upload.json()["error"]["code"] == "wrong_task"  # the replica's word on it: it serves text


@pytest.mark.parametrize("model", ["unknown", "", 5, None, ["tiny"], "a" * 2_000_000, "\0", "한국어", "../x"])
def test_a_replica_says_what_is_wrong_with_a_model(cluster: Cluster, model: Any) -> None:
    response = cluster.client.post("/v1/completions", json={"model": model, "prompt": "a"})
    assert response.status_code < 500, response.text


def test_a_client_that_leaves_is_noticed_by_the_replica(cluster: Cluster) -> None:
    body = {"model": "tiny", "prompt": "words=1000 pause=0.05", "stream": True}
    with cluster.client.stream(
        "POST", "/v1/completions", json=body, headers={"X-Request-ID": "left"}
    ) as stream:
        next(stream.iter_lines())
    assert wait_for(lambda: audited(cluster, "left") is not None, 10)
    assert (audited(cluster, "left") or {})["status"] == 499


def test_a_long_body_is_refused_by_what_it_claims_and_by_what_comes(cluster: Cluster) -> None:
    host, port = "127.0.0.1", cluster.ready["port"]
    head = "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, port), timeout=20) as claims:
        claims.sendall(f"{head}Content-Length: {1 << 40}\r\n\r\n".encode())
        assert claims.recv(1000).startswith(b"HTTP/1.1 413 ")
    with socket.create_connection((host, port), timeout=20) as sends:
        sends.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(33):
            sends.sendall(b"100000\r\n" + b" " * (1 << 20) + b"\r\n")
        assert sends.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_metrics_name_their_replica(cluster: Cluster) -> None:
    text = cluster.client.get("/metrics").text
    assert 'vllm:num_requests_running{replica="1"} 1.0' in text
    assert 'vllm:num_requests_running{replica="2"} 1.0' in text
    assert "quantserve_replicas 2.0" in text


def test_equal_beginnings_meet_and_load_is_spread(cluster: Cluster) -> None:
    talk = "You are a careful assistant who answers from the documents it is given. " * 20

    def replica_of(prompt: str) -> int:
        pid: int = cluster.ask(prompt).json()["pid"]
        return pid

    assert len({replica_of(f"{talk} question {number}") for number in range(6)}) == 1
    with Streamers(f"{cluster.url}/v1", "words=40 pause=0.05", 12, 40, cluster.key) as clients:
        assert wait_for(lambda: all(busy(cluster)), 10)
    assert clients.failures == []


def busy(cluster: Cluster) -> list[bool]:
    """Whether each replica has streams, by the connections the front has to it."""
    ports = [int(replica["url"].rpartition(":")[2]) for replica in cluster.state["replicas"]]
    connections = psutil.Process(cluster.process.pid).net_connections("tcp")
    remote = [c.raddr.port for c in connections if c.raddr and c.status == psutil.CONN_ESTABLISHED]
    return [remote.count(port) >= 3 for port in ports]


def test_a_killed_replica_cuts_its_streams_visibly_and_is_started_again(cluster: Cluster) -> None:
    url = f"{cluster.url}/v1"
    client = openai.OpenAI(base_url=url, api_key=cluster.key, max_retries=0)
    first = "The first to go " * 20
    victim = cluster.ask(first).json()["pid"]
    stream = client.completions.create(
        model="tiny", prompt=f"{first} words=500 pause=0.02", stream=True, max_tokens=9
    )
    next(iter(stream))
    os.kill(victim, signal.SIGKILL)
    with pytest.raises((openai.APIError, httpx.RemoteProtocolError)):
        list(stream)
    assert [cluster.ask(f"{number}").status_code for number in range(10)] == [200] * 10
    assert wait_for(lambda: serving_pids(cluster) - {victim} == serving_pids(cluster, all_of_them=True), 30)
    assert len(serving_pids(cluster)) == 2, cluster.log


def serving_pids(cluster: Cluster, *, all_of_them: bool = False) -> set[int]:
    replicas = cluster.state["replicas"]
    return {replica["pid"] for replica in replicas if replica["gets_requests"] or all_of_them}


def test_rolling_restart_on_a_moved_link_fails_no_request(
    serving: Serving, cluster: Cluster, versions: Path
) -> None:
    url = f"{cluster.url}/v1"
    long = Streamers(url, "words=80 pause=0.04", 2, 80, cluster.key)
    with long, Streamers(url, "words=10 pause=0.02", 6, 10, cluster.key) as clients:
        assert wait_for(lambda: len(clients.answers) >= 6, 20)
        (versions / "current").unlink()
        (versions / "current").symlink_to("v2")
        rolled = serving("restart", "--rolling", "--run-dir", cluster.run)
        assert rolled.returncode == 0, rolled.stderr
        seen = len(clients.answers)
        assert wait_for(lambda: len(clients.answers) >= seen + 12, 20)
    assert clients.failures + long.failures == []
    assert {len(answer.words) for answer in long.answers} == {80}  # longer than a replica's own drain
    assert all(len(set(answer.words)) == 1 and len(answer.words) == 10 for answer in clients.answers)
    assert {answer.words[0] for answer in clients.answers} == {"v1", "v2"}
    assert {answer.words[0] for answer in clients.answers[-6:]} == {"v2"}
    assert cluster.state["target"] == str(versions / "v2")


def test_commands_know_the_replicas(serving: Serving, cluster: Cluster) -> None:
    done = serving("status", "--json", "--run-dir", cluster.run)
    report = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, report["ready"], report["requests_running"]) == (0, True, 2)
    assert [replica["status"] for replica in report["replicas"]] == ["ready", "ready"]
    assert report["policy"] == "cache_aware"
    shown = " ".join(serving("status", "--run-dir", cluster.run).stderr.split())
    assert "last rolling restart done: all replicas are v2 now" in shown
    assert serving("logs", "--of", "replica-1", "--run-dir", cluster.run).returncode == 0
    assert serving("logs", "--of", "../x", "--run-dir", cluster.run).returncode == 2


def test_up_rolls_when_only_the_link_has_moved_and_else_leaves_alone(
    serving: Serving, cluster: Cluster, versions: Path
) -> None:
    words = ("--served-model-name", "tiny", "--port", "0", "--run-dir", cluster.run)
    up = serving("up", versions / "current", *words)
    assert "is already up" in up.stderr
    (versions / "current").unlink()
    (versions / "current").symlink_to("v1")
    rolled = serving("up", versions / "current", *words)
    assert "is up on every replica" in rolled.stderr
    assert json.loads(rolled.stdout.splitlines()[-1])["pid"] == cluster.process.pid
    assert cluster.ask("which?").json()["choices"][0]["text"] == "v1"


def test_a_version_that_does_not_start_changes_nothing(cluster: Cluster, versions: Path) -> None:
    before = {replica["pid"] for replica in cluster.state["replicas"]}
    failed = cluster.roll(versions / "v3", "second")
    assert failed["status"] == "failed"
    assert "this version is broken" in failed["message"]
    assert {replica["pid"] for replica in cluster.state["replicas"]} == before
    assert cluster.ask("still there?").json()["choices"][0]["text"] == "v1"


def test_sigterm_lets_streams_finish_and_leaves_nothing(cluster: Cluster) -> None:
    family = cluster.family()
    with cluster.client.stream(
        "POST", "/v1/completions", json={"model": "tiny", "prompt": "words=30 pause=0.05", "stream": True}
    ) as stream:
        lines = stream.iter_lines()
        next(lines)
        cluster.process.terminate()
        assert [line for line in lines if line][-1] == "data: [DONE]"
    assert cluster.process.wait(30) == 0
    assert wait_for(lambda: not any(process.is_running() for process in family), 10)
    assert not (cluster.run / "serving.json").exists()


def test_a_killed_supervisor_leaves_no_process(versions: Path, tmp_path: Path) -> None:
    cluster = start(versions, tmp_path)
    family = cluster.family()
    assert len(family) == 3  # reaper, two replicas
    cluster.end()
    assert wait_for(lambda: not any(process.is_running() for process in family), 15)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--replicas", "900"), 6, "900 replicas do not fit: of"),
        (("--replicas", "2", "--policy", "wisest"), 2, "Known: least_running, cache_aware, sticky"),
        (("--replicas", "2", "--host", "0.0.0.0"), 2, "without keys"),
        (("--replicas", "2", "--", "--api-server-count", "2"), 2, "--api-server-count after -- cannot"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(
    serving: Serving, tiny_model: Path, run_dir: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    done = serving("up", tiny_model, "--port", "0", "--run-dir", run_dir, *words)
    assert done.returncode == code
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_rolling_restart_of_nothing_says_the_mend(serving: Serving, tmp_path: Path) -> None:
    done = serving("restart", "--rolling", "--run-dir", tmp_path)
    assert done.returncode == 1
    assert "serving up" in done.stderr
