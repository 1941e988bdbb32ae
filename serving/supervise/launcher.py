"""Run an engine for as long as it is wanted: ready means a decoded token, the end means nothing is left.

    Launcher(state, listener, …).run()   blocks until SIGTERM or SIGINT, or until restarts do not help

An `Engine` is one attempt, the launcher owns the attempts and what is said about them.
"""

from __future__ import annotations

import itertools
import math
import signal
import time
from pathlib import Path

from quantserve.core.console import console
from quantserve.core.errors import EXIT_INTERRUPTED
from quantserve.core.files import write_json
from quantserve.serving.config import LauncherOptions
from quantserve.serving.errors import EngineDied, EngineFailed, EngineHung, EngineNotReady, RestartsExhausted
from quantserve.serving.guard.launcher_line import Facts
from quantserve.serving.health import DecodeProbe, decode_probe, read_metrics, read_metrics_text
from quantserve.serving.processes import adopt_orphans, die_with_parent, signal_group
from quantserve.serving.state import LastProbe, ServerState, remove_state, write_state
from quantserve.serving.supervise.engine import Engine
from quantserve.serving.supervise.hang import Round, failures_in_a_row, work_done
from quantserve.serving.supervise.listener import Listener
from quantserve.serving.supervise.orphans import Reaper
from quantserve.serving.supervise.restarts import Restarts
from quantserve.serving.supervise.signals import StopAsked, StopSignals

_TICK_S = 0.05
_RETRY_PROBE_S = 0.5
_METRICS_TIMEOUT_S = 3.0
_LAST_WORDS_S = 2.0
_USUAL_START_S = 30.0
"""What clients are told to wait before a start has been timed."""
_RETRY_WHEN_STOPPING_S = 5


class Launcher:
    """Owns one server from its start to its end."""

    def __init__(
        self, state: ServerState, listener: Listener, state_file: Path | None, options: LauncherOptions
    ) -> None:
        """`state` says what to start: its argv and env are used as they are."""
        self._state = state
        self._listener = listener
        self._state_file = state_file
        self._options = options
        self._engine: Engine | None = None
        self._reaper: Reaper | None = None
        self._signals = StopSignals(self._end_at_once)
        self._restarts = Restarts(options.restart)
        self._facts = Facts()
        self._expected_at: float | None = None

    def run(self) -> int:
        """Start, become ready, serve until asked to stop; return the exit code.

        Raises:
            EngineDied, EngineNotReady: the first engine never served; with the log's most telling line.
            RestartsExhausted: engines died one after the other.
        """
        if self._options.die_with_parent:
            die_with_parent()
        adopt_orphans()
        self._signals.install()
        try:
            self._expect(_USUAL_START_S)
            self._record()
            self._reaper = Reaper(self._options.orphan_grace_s)
            while True:
                self._attempt()
        except StopAsked as asked:
            return EXIT_INTERRUPTED if asked.signum == signal.SIGINT else 0
        finally:
            self._end()

    def _attempt(self) -> None:
        """One engine from its start to its failure, and the wait before the next."""
        began = time.monotonic()
        try:
            engine = self._start()
            self._become_ready(engine)
            self._watch(engine)
        except EngineFailed as failure:
            ran_s = time.monotonic() - began
            self._clear_away(failure)
            time.sleep(self._delay_after(failure, ran_s))

    def _start(self) -> Engine:
        with self._signals.deferred():
            engine = Engine(self._state.argv, self._state.env, self._options.log, self._listener.socket)
            self._engine = engine
            if self._reaper is not None:
                self._reaper.watch(engine.pid)
        self._record(engine_pid=engine.pid)
        return engine

    def _become_ready(self, engine: Engine) -> None:
        """Wait until it listens, have it alone take connections, and let clients in after its first token."""
        while not engine.listening:
            self._require_starting(engine, "it does not listen yet")
            engine.wait(_TICK_S)
        with self._signals.deferred():
            self._listener.leave_to_engine()
        for copy in range(self._state.copies):
            while not (probe := self._probe(self._options.first_token_timeout_s, copy)).ok:
                self._require_starting(engine, probe.problem)
                engine.wait(_RETRY_PROBE_S)
        engine.seen_alive()
        startup_s = round(time.monotonic() - engine.started, 1)
        self._expected_at = None
        self._tell(phase="serving", startup_s=startup_s, retry_after_s=max(1, math.ceil(startup_s)))
        self._say_ready()

    def _require_starting(self, engine: Engine, problem: str) -> None:
        """Raise once a start has failed or takes too long."""
        if engine.poll() is not None:
            raise EngineDied(f"the engine {engine.ending()}", mend=self._where())
        if time.monotonic() - engine.started > self._options.ready_timeout_s:
            raise EngineNotReady(
                f"no token came within {self._options.ready_timeout_s:.0f} s: {problem}", mend=self._where()
            )

    def _say_ready(self) -> None:
        metrics = read_metrics(self._state.url)
        first = self._state.ready_s is None
        self._record(
            status="ready",
            ready_s=round(time.time() - self._state.started_at, 1) if first else self._state.ready_s,
            kv_cache_tokens=metrics.kv_cache_tokens,
        )
        if self._options.ready_file is not None:
            write_json(self._options.ready_file, self._state.to_json(), private=True)
        console.print(
            f"ready in {self._facts.startup_s} s: {self._state.model} on {self._state.base_url} "
            f"(KV cache {metrics.kv_cache_tokens} tokens, planned {self._state.kv_cache_tokens_planned})",
            markup=False,
            soft_wrap=True,
        )

    def _watch(self, engine: Engine) -> None:
        """Probe each copy of the model in turn until the engine dies or hangs, which is raised."""
        options = self._options.probe
        failures = [0] * self._state.copies
        for copy in itertools.cycle(range(self._state.copies)):
            if engine.wait_until_ended(options.interval_s / self._state.copies):
                break
            before = self._work_done(copy)
            probe = self._probe(options.timeout_s, copy)
            if engine.ended:
                break
            if probe.ok:
                engine.seen_alive()
            after = None if probe.ok or before is None else self._work_done(copy)
            failures[copy] = failures_in_a_row(failures[copy], Round(probe.ok, before, after))
            self._tell()
            self._record()
            if failures[copy] >= options.failures:
                which = f"copy {copy} of the engine" if self._state.copies > 1 else "the engine"
                raise EngineHung(f"{which} hangs: {failures[copy]} probes brought no token ({probe.problem})")
        raise EngineDied(f"the engine {engine.ending()}", mend=self._where())

    def _probe(self, timeout_s: float, copy: int) -> DecodeProbe:
        one = copy if self._state.copies > 1 else None
        probe = decode_probe(self._state.url, self._state.model, timeout_s, copy=one)
        last = LastProbe(probe.ok, probe.seconds if probe.ok else None, probe.problem, round(time.time(), 3))
        self._state = self._state.changed(last_probe=last)
        self._facts = self._facts.changed(probe_ok=last.ok, probe_s=last.seconds, probe_at=last.at)
        return probe

    def _work_done(self, copy: int) -> float | None:
        timeout_s = min(self._options.probe.timeout_s, _METRICS_TIMEOUT_S)
        return work_done(read_metrics_text(self._state.url, timeout_s), copy)

    def _clear_away(self, failure: EngineFailed) -> None:
        """Have clients told at once, then make sure that nothing of the engine is left."""
        with self._signals.deferred():
            self._tell(phase="restarting")
            self._listener.answer_unavailable()
            if self._engine is not None:
                if self._engine.ended:
                    self._engine.wait(_LAST_WORDS_S)  # its server still tells its clients what happened
                self._engine.kill()
                if self._reaper is not None:
                    self._reaper.forget(self._engine.pid)
            self._engine = None
            if self._options.ready_file is not None:
                remove_state(self._options.ready_file, self._state.pid)
            self._record(status="restarting", engine_pid=None, last_failure=failure.problem)

    def _delay_after(self, failure: EngineFailed, ran_s: float) -> float:
        """Return the seconds until the next start, after an engine that ran for `ran_s`.

        Raises:
            EngineFailed: the first engine never served, or none is to be started again.
            RestartsExhausted: too many have been.
        """
        options, now = self._options.restart, time.monotonic()
        if self._state.ready_s is None or options.limit == 0:
            raise failure
        wait = self._restarts.next_delay_s(now, ran_s)
        if wait is None:
            raise RestartsExhausted(
                f"{failure.problem}; {options.limit} restarts within {options.window_s:g} s did not help",
                mend=self._where(),
            ) from failure
        self._expect(wait + (self._facts.startup_s or _USUAL_START_S), restarts=self._facts.restarts + 1)
        self._record(restarts=self._facts.restarts)
        of = "" if options.limit is None else f" of {options.limit}"
        console.print(
            f"{failure.problem}; restart {self._restarts.count(now)}{of} in {wait:g} s",
            markup=False,
            soft_wrap=True,
        )
        return wait

    def _expect(self, seconds: float, **fields: object) -> None:
        """Have refused clients told when an engine should serve."""
        self._expected_at = time.monotonic() + seconds
        self._tell(**fields)

    def _tell(self, **fields: object) -> None:
        """Change the facts and say them to whoever answers on the address."""
        self._facts = self._facts.changed(**fields)
        self._listener.say(self._facts, self._expected_at)
        if self._engine is not None:
            self._engine.tell(self._facts)

    def _record(self, **fields: object) -> None:
        self._state = self._state.changed(**fields)
        if self._state_file is None:
            return
        try:
            write_state(self._state_file, self._state)
        except OSError as error:
            if self._state.ready_s is None:
                raise
            # A full disk is no reason to end a server that serves.
            console.print(f"cannot write {self._state_file}: {error.strerror}", markup=False)

    def _where(self) -> str:
        return f"The whole log: {self._options.log}" if self._options.log is not None else ""

    def _end_at_once(self) -> None:
        """Whoever asks twice does not want to wait for running requests."""
        if self._engine is not None and self._engine.poll() is None:
            signal_group(self._engine.pid, signal.SIGKILL)

    def _end(self) -> None:
        """Leave nothing behind, however we got here."""
        self._signals.ending()
        self._expected_at = None
        self._tell(phase="stopping", retry_after_s=_RETRY_WHEN_STOPPING_S)
        self._listener.answer_unavailable()
        self._record(status="stopping")
        if self._engine is not None:
            self._drain(self._engine)
            self._engine.stop(self._options.stop_margin_s)
            if self._reaper is not None:
                self._reaper.forget(self._engine.pid)
        if self._reaper is not None:
            self._reaper.close()
        self._listener.close()
        for path in (self._state_file, self._options.ready_file):
            if path is not None:
                remove_state(path, self._state.pid)

    def _drain(self, engine: Engine) -> None:
        """Let running requests finish; the guard has refused new ones since it was told that we stop."""
        end = time.monotonic() + self._options.drain_s
        while engine.listening and not engine.drained and engine.wait(_TICK_S) is None:
            if time.monotonic() > end:
                console.print(
                    f"requests still ran after {self._options.drain_s:g} s and were cut off", markup=False
                )
                engine.kill()
