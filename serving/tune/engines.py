"""Engines of candidate profiles: started when asked for, kept while they fit, all ended at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from quantserve.core.errors import ResourceError
from quantserve.core.files import open_private, write_text
from quantserve.core.logs import read_tail, telling_line
from quantserve.serving.errors import EngineDied, EngineNotReady
from quantserve.serving.profiles import Profile
from quantserve.serving.tune.write import profile_yaml

_ROOT = Path(__file__).resolve().parents[2]
_POLL_S = 0.1
_STOP_TIMEOUT_S = 90.0

Argv = Callable[[Path, Path, Path], list[str]]
"""(profile file, ready file, log file) → the command that serves it."""


@dataclass(frozen=True)
class Running:
    """An engine that has decoded a token."""

    base_url: str
    model: str
    pid: int


def serve_argv(target: Path, run: Path, vllm_args: tuple[str, ...]) -> Argv:
    """Return the maker of commands that serve `target` on spare ports as children of this process."""

    def argv(profile: Path, ready: Path, log: Path) -> list[str]:
        words = [sys.executable, "-m", "quantserve.serving", "serve", str(target), "--port", "0"]
        words += ["--profile", str(profile), "--ready-file", str(ready), "--log", str(log)]
        words += ["--run-dir", str(run), "--die-with-parent", "--private"]
        return [*words, "--", *vllm_args] if vllm_args else words

    return argv


class Engines:
    """At most `capacity` engines at once; the one asked for longest ago makes room. A context manager."""

    def __init__(self, argv: Argv, capacity: int, ready_timeout_s: float = 900.0) -> None:
        """Nothing is started before it is asked for."""
        self._argv = argv
        self.capacity = capacity
        self._ready_timeout_s = ready_timeout_s
        self._running: OrderedDict[str, tuple[subprocess.Popen[bytes], Running]] = OrderedDict()
        self._folder = tempfile.TemporaryDirectory(prefix="quantserve-tune-")
        self._started = 0

    def __enter__(self) -> Engines:
        """Give itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every engine, however the block ended."""
        self._make_room(0)
        self._folder.cleanup()

    def get(self, profile: Profile) -> Running:
        """Return the engine of a profile, started now if it does not run.

        Raises:
            EngineDied, EngineNotReady: with the reason it gave itself.
        """
        text = profile_yaml(profile)
        if text in self._running:
            process, running = self._running[text]
            if process.poll() is None:
                self._running.move_to_end(text)
                return running
            del self._running[text]
        self._make_room(self.capacity - 1)
        try:
            started = self._start(text)
        except ResourceError:
            if not self._running:
                raise
            self.capacity = 1  # two of them do not fit into this machine's memory
            self._make_room(0)
            started = self._start(text)
        self._running[text] = started
        return started[1]

    def keep(self, profile: Profile) -> None:
        """Have another engine make room before this one, if it runs."""
        text = profile_yaml(profile)
        if text in self._running:
            self._running.move_to_end(text)

    def _make_room(self, most: int) -> None:
        while len(self._running) > most:
            _, (process, _) = self._running.popitem(last=False)
            _stop(process)

    def _start(self, text: str) -> tuple[subprocess.Popen[bytes], Running]:
        self._started += 1
        folder = Path(self._folder.name) / str(self._started)
        profile, ready, log, said = (
            folder / name for name in ("profile.yaml", "ready.json", "engine.log", "launcher.log")
        )
        write_text(profile, text)
        with open_private(said, "wb") as output:
            process = subprocess.Popen(
                self._argv(profile, ready, log),
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we end our engines ourselves
            )
        try:
            self._wait(process, ready, said, log)
        except BaseException:
            _stop(process)
            raise
        state: dict[str, Any] = json.loads(ready.read_text(encoding="utf-8"))
        return process, Running(state["base_url"], state["model"], state["pid"])

    def _wait(self, process: subprocess.Popen[bytes], ready: Path, said: Path, log: Path) -> None:
        end = time.monotonic() + self._ready_timeout_s
        while not ready.is_file():
            if process.poll() is not None:
                why = _last_words(said) or telling_line(read_tail(log))
                if process.returncode == ResourceError.exit_code:
                    raise ResourceError(why)
                raise EngineDied(why)
            if time.monotonic() > end:
                raise EngineNotReady(f"not ready within {self._ready_timeout_s:.0f} s")
            time.sleep(_POLL_S)


def _last_words(said: Path) -> str:
    """What the launcher said at its end, folded lines joined."""
    _, _, words = read_tail(said).rpartition("serving: ")
    return " ".join(words.split())[:400]


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()  # its reaper ends the engine
            process.wait()
