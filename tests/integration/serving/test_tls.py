"""HTTPS from the first refused request to the last, over an engine that starts in no time."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvloop

from quantserve.serving.tls import Tls, client_context
from tests.integration.serving.certificates import make_certificate
from tests.integration.serving.conftest import Serving, wait_for
from tests.integration.serving.launched import Launched
from tests.integration.serving.replicas.fronts import front_before
from tests.programs import told_by


class Secure(Launched):
    """Asked over HTTPS by a client that trusts the server's certificate alone."""

    def __init__(self, directory: Path, certificate: Path) -> None:
        self.client = httpx.Client(verify=client_context(str(certificate)), trust_env=False, timeout=20)
        super().__init__(directory, "--certificate", str(certificate))

    def get(self, path: str) -> httpx.Response:
        return self.client.get(self.url + path)

    def ask(self, prompt: str = "hello", client: httpx.Client | None = None) -> httpx.Response:
        return super().ask(prompt, client or self.client)


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Secure]:
    certificate, key = make_certificate(tmp_path)
    certificate.write_text(certificate.read_text() + key.read_text())
    (tmp_path / "hold").touch()
    started = Secure(tmp_path, certificate)
    try:
        yield started
    finally:
        started.close()
        started.client.close()


def test_https_before_an_engine_with_one_after_its_death_and_in_every_command(
    launched: Secure, serving: Serving, tmp_path: Path
) -> None:
    assert launched.url.startswith("https://127.0.0.1:")
    early = launched.ask()
    assert (early.status_code, early.json()["error"]["code"]) == (503, "starting")
    assert launched.get("/metrics").status_code == 200
    launched.hold.unlink()
    launched.wait_until_ready()  # by the launcher's own probe
    assert launched.ask().status_code == 200
    assert launched.get("/health").status_code == 200
    with pytest.raises(httpx.HTTPError):
        httpx.get(launched.url.replace("https:", "http:") + "/health", trust_env=False)
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{launched.url}/health", trust_env=False)

    (tmp_path / "serving.json").symlink_to(launched.state_file)
    status = serving("status", "--json", "--run-dir", tmp_path)
    report = json.loads(status.stdout.splitlines()[-1])
    assert (report["ready"], report["url"]) == (True, f"{launched.url}/v1")
    line = {"custom_id": "a", "url": "/v1/completions", "method": "POST"}
    line["body"] = {"model": "fake", "prompt": "hello", "max_tokens": 1}  # type: ignore[assignment]
    (tmp_path / "in.jsonl").write_text(json.dumps(line))
    batch = serving("batch", tmp_path / "in.jsonl", tmp_path / "out.jsonl", "--run-dir", tmp_path)
    assert (batch.returncode, json.loads(batch.stdout.splitlines()[-1])["answered"]) == (0, 1), batch.stderr

    launched.hold.touch()
    with pytest.raises(httpx.HTTPError):
        launched.ask("leave")
    assert wait_for(lambda: launched.state["status"] == "restarting", 20)
    assert launched.ask().json()["error"]["code"] == "restarting"
    launched.hold.unlink()
    assert wait_for(lambda: launched.ask().status_code == 200, 30)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--ssl-keyfile", "{key}"], "--ssl-keyfile without --ssl-certfile"),
        (["--ssl-certfile", "{folder}/gone.pem"], "No such file or directory"),
        (["--ssl-certfile", "{certificate}", "--ssl-keyfile", "{other}"], "key values mismatch"),
        (["--ssl-certfile", "{certificate}", "--ssl-cert-reqs", "2"], "--ssl-cert-reqs 2 is not served"),
    ],
)
def test_half_of_tls_is_refused_in_one_line_before_anything_starts(
    serving: Serving, tiny_model: Path, run_dir: Path, tmp_path: Path, flags: list[str], message: str
) -> None:
    certificate, key = make_certificate(tmp_path)
    _, other = make_certificate(tmp_path, "other")
    names = {"certificate": certificate, "key": key, "other": other, "folder": tmp_path}
    words = [flag.format(**names) for flag in flags]
    done = serving("plan", tiny_model, "--run-dir", run_dir, "--", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("serving: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_private_server_is_asked_over_loopback_without_it(
    serving: Serving, tiny_model: Path, run_dir: Path, tmp_path: Path
) -> None:
    certificate, key = make_certificate(tmp_path)
    words = ["--", "--ssl-certfile", certificate, "--ssl-keyfile", key]
    plan = serving("plan", tiny_model, "--json", "--private", "--run-dir", run_dir, *words)
    assert "--ssl-certfile" not in json.loads(plan.stdout.splitlines()[-1])["argv"]


def test_the_front_of_replicas_speaks_it_and_what_stands_behind_does_not(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)

    async def ask() -> tuple[int, bytes]:
        tls = Tls(str(certificate), str(key)).server_context()
        async with front_before({}, tls=tls) as (_, port):
            async with httpx.AsyncClient(verify=client_context(str(certificate)), trust_env=False) as client:
                answer = await client.get(f"https://127.0.0.1:{port.number}/health")
            reader, plain = await asyncio.open_connection("127.0.0.1", port.number)
            plain.write(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                assert b"HTTP/1.1" not in await reader.read()
            plain.close()
            return answer.status_code, answer.headers["retry-after"].encode()

    assert uvloop.run(ask()) == (503, b"2")  # it speaks, and has no replica


def test_replicas_are_started_without_tls_and_their_supervisor_has_it(
    tiny_model: Path, tmp_path: Path
) -> None:
    certificate, key = make_certificate(tmp_path)
    script = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from quantserve.serving.config import RunDirectory, ServeOptions\n"
        "from quantserve.serving.replicas.fitting import fit_replicas\n"
        "words = ('--ssl-certfile', sys.argv[2], '--ssl-keyfile', sys.argv[3], '--seed', '1')\n"
        "options = ServeOptions(replicas=2, vllm_args=words)\n"
        "fit = fit_replicas(Path(sys.argv[1]), options, RunDirectory(Path(sys.argv[4])))\n"
        "print(json.dumps({'tls': fit.tls.certfile, 'args': fit.options.vllm_args[:2]}))\n"
    )
    program = tmp_path / "fit.py"
    program.write_text(script)
    found = told_by(program, tiny_model, certificate, key, tmp_path / "run")
    assert found == {"tls": str(certificate), "args": ["--seed", "1"]}
