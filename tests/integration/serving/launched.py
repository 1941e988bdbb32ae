"""A launcher over the fake engine in a process of its own, and clients of it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.integration.serving.conftest import wait_for
from tests.programs import ROOT


class Stream:
    """One streamed completion, read in a thread; `error` is what ended it, if not its own end."""

    def __init__(self, url: str, prompt: str, words: int) -> None:
        self.lines: list[str] = []
        self.status: int | None = None
        self.error: httpx.HTTPError | None = None
        body = {"model": "fake", "prompt": prompt, "max_tokens": words, "stream": True}
        self._thread = threading.Thread(target=self._read, args=(f"{url}/v1/completions", body), daemon=True)
        self._thread.start()

    def _read(self, url: str, body: dict[str, Any]) -> None:
        try:
            with httpx.stream("POST", url, json=body, timeout=60, trust_env=False) as response:
                self.status = response.status_code
                self.lines.extend(line for line in response.iter_lines() if line)
        except httpx.HTTPError as error:
            self.error = error

    def finished(self) -> bool:
        """Wait for its end, whichever it is, and say whether it was whole."""
        self._thread.join(30)
        assert not self._thread.is_alive(), "the stream hangs"
        return self.lines[-1:] == ["data: [DONE]"]


class Caller:
    """Asks again and again, each time on a connection of its own, until it is stopped."""

    def __init__(self, ask: Callable[[], httpx.Response]) -> None:
        self.statuses: list[int] = []
        self.errors: list[httpx.HTTPError] = []
        self._ask = ask
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._call, daemon=True)
        self._thread.start()

    def _call(self) -> None:
        while not self._stop.is_set():
            try:
                self.statuses.append(self._ask().status_code)
            except httpx.HTTPError as error:
                self.errors.append(error)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), "a request hangs"


class Launched:
    """`run_launcher` as a child of the test."""

    def __init__(self, directory: Path, *words: str) -> None:
        self.hold = directory / "hold"
        """While this file exists no engine starts and the prompt "hold" does not end."""
        self.ready_file, self.state_file = directory / "ready.json", directory / "state.json"
        command = [sys.executable, "-m", "tests.integration.serving.run_launcher", str(directory), *words]
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        assert wait_for(lambda: self.state_file.is_file() or self.process.poll() is not None, 20)
        self._failed: set[float] = set()
        self.url: str = self.state["url"] if self.state_file.is_file() else ""

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.state_file.read_text(encoding="utf-8"))
        return state

    def wait_until_ready(self) -> None:
        assert wait_for(lambda: self.ready_file.is_file() and self.state["status"] == "ready", 20)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=20, trust_env=False)

    def ask(self, prompt: str = "hello", client: httpx.Client | None = None) -> httpx.Response:
        body = {"model": "fake", "prompt": prompt, "max_tokens": 1}
        post = client.post if client is not None else httpx.post
        return post(f"{self.url}/v1/completions", json=body, timeout=20)

    def hang(self, copy: int) -> None:
        """Have one copy of the model bring no token any more; its request is left waiting."""
        body = {"model": "fake", "prompt": "hang", "max_tokens": 1}
        key = (self.state_file.parent / "internal.key").read_text(encoding="utf-8").strip()
        headers = {"X-data-parallel-rank": str(copy), "Authorization": f"Bearer {key}"}
        with contextlib.suppress(httpx.ReadTimeout):
            httpx.post(f"{self.url}/v1/completions", json=body, headers=headers, timeout=0.5)

    def stream(self, prompt: str = "hello", words: int = 50) -> Stream:
        """Begin a stream and return once its first word has come."""
        stream = Stream(self.url, prompt, words)
        assert wait_for(lambda: bool(stream.lines), 20)
        return stream

    def stream_in_background(self, prompt: str) -> Stream:
        """Begin a stream that need not bring a word."""
        return Stream(self.url, prompt, 1)

    def failed_probes(self) -> int:
        """Return how many of the launcher's probes have been seen to fail."""
        probe = self.state["last_probe"]
        if probe is not None and not probe["ok"]:
            self._failed.add(probe["at"])
        return len(self._failed)

    def metric(self, name: str) -> float | None:
        """Return a sample of /metrics, whoever answers them."""
        for line in self.get("/metrics").text.splitlines():
            if line.startswith((f"{name} ", f"{name}{{")):
                return float(line.rpartition(" ")[2])
        return None

    def outcome(self) -> tuple[int, str]:
        """Return exit code and what it said, in one line."""
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, " ".join(errors.split())

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
