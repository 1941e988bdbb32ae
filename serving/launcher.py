"""Run the engine and answer for it: ready means a decoded token, the end means nothing is left.

    run_server(plan, …)   blocks until SIGTERM or SIGINT, or until the engine dies

A restart policy belongs into `Launcher.run`: an `Engine` is one attempt, the launcher owns the attempts.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from core.console import console
from core.errors import EXIT_INTERRUPTED
from core.files import write_json
from serving.config import LauncherOptions
from serving.engine import Engine
from serving.errors import EngineDied, EngineNotReady
from serving.health import decode_probe, read_metrics
from serving.processes import adopt_orphans, die_with_parent
from serving.state import ServerState, remove_state, write_state

_ROOT = Path(__file__).resolve().parents[1]
_PROBE_TIMEOUT_S = 60.0


class _StopAsked(BaseException):
    """A signal asked for the end; raised wherever the main thread happens to be."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class _Reaper:
    """The process that ends the engine should we be killed."""

    def __init__(self, grace_s: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "serving.reaper", str(grace_s)],
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def _say(self, number: int) -> None:
        if self._process.stdin is not None and self._process.poll() is None:
            self._process.stdin.write(f"{number}\n")
            self._process.stdin.flush()

    def watch(self, group: int) -> None:
        self._say(group)

    def forget(self, group: int) -> None:
        self._say(-group)

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


class Launcher:
    """Owns one server from its start to its end."""

    def __init__(
        self, state: ServerState, state_file: Path | None, drain_s: float, options: LauncherOptions
    ) -> None:
        """`state` says what to start: its argv and env are used as they are."""
        self._state = state
        self._state_file = state_file
        self._drain_s = drain_s
        self._options = options
        self._engine: Engine | None = None
        self._reaper: _Reaper | None = None
        self._listening = True
        self._asked: int | None = None

    def run(self) -> int:
        """Start, become ready, serve until asked to stop; return the exit code.

        Raises:
            EngineDied, EngineNotReady: with the log's most telling line.
        """
        if self._options.die_with_parent:
            die_with_parent()
        adopt_orphans()
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, self._on_signal)
        try:
            self._record()
            self._reaper = _Reaper(self._options.orphan_grace_s)
            engine = self._start()
            self._become_ready(engine)
            engine.wait()
            raise EngineDied(f"the engine {engine.ending()}: {engine.complaint()}", mend=self._where())
        except _StopAsked as asked:
            return EXIT_INTERRUPTED if asked.signum == signal.SIGINT else 0
        finally:
            self._end()

    def _on_signal(self, signum: int, _frame: FrameType | None) -> None:
        for other in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(other, self._on_second_signal)
        self._asked = signum
        if self._listening:
            raise _StopAsked(signum)

    def _on_second_signal(self, _signum: int, _frame: FrameType | None) -> None:
        """Whoever asks twice does not want to wait for the drain."""
        if self._engine is not None and self._engine.poll() is None:
            os.killpg(self._engine.pid, signal.SIGKILL)

    def _start(self) -> Engine:
        # A stop that comes between the start and its being noted waits in _asked until we listen.
        self._listening = False
        engine = Engine(self._state.argv, self._state.env, self._options.log)
        self._engine = engine
        if self._reaper is not None:
            self._reaper.watch(engine.pid)
        self._listening = True
        if self._asked is not None:
            raise _StopAsked(self._asked)
        self._record(engine_pid=engine.pid)
        return engine

    def _become_ready(self, engine: Engine) -> None:
        start = time.perf_counter()
        while True:
            if engine.poll() is not None:
                raise EngineDied(
                    f"the engine {engine.ending()} while starting: {engine.complaint()}", mend=self._where()
                )
            probe = decode_probe(self._state.url, self._state.model, _PROBE_TIMEOUT_S)
            if probe.ok:
                break
            if time.perf_counter() - start > self._options.ready_timeout_s:
                raise EngineNotReady(
                    f"no token came within {self._options.ready_timeout_s:.0f} s: {probe.problem}",
                    mend=self._where(),
                )
            time.sleep(self._options.probe_interval_s)
        metrics = read_metrics(self._state.url)
        self._record(
            status="ready",
            ready_s=round(time.time() - self._state.started_at, 1),
            kv_cache_tokens=metrics.kv_cache_tokens,
        )
        if self._options.ready_file is not None:
            write_json(self._options.ready_file, self._state.to_json())
        console.print(
            f"ready in {self._state.ready_s} s: {self._state.model} on {self._state.base_url} "
            f"(KV cache {metrics.kv_cache_tokens} tokens, planned {self._state.kv_cache_tokens_planned})",
            markup=False,
            soft_wrap=True,
        )

    def _record(self, **fields: object) -> None:
        self._state = self._state.changed(**fields)
        if self._state_file is not None:
            write_state(self._state_file, self._state)

    def _where(self) -> str:
        return f"The whole log: {self._options.log}" if self._options.log is not None else ""

    def _end(self) -> None:
        """Leave nothing behind, however we got here."""
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, self._on_second_signal)
        if self._engine is not None:
            if self._engine.poll() is None:
                self._record(status="stopping")
            self._engine.stop(self._drain_s + self._options.stop_margin_s)
            if self._reaper is not None:
                self._reaper.forget(self._engine.pid)
        if self._reaper is not None:
            self._reaper.close()
        for path in (self._state_file, self._options.ready_file):
            if path is not None:
                remove_state(path, self._state.pid)
