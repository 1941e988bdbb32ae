"""The one process that owns the front and the replicas, from their start to their end.

    Supervisor(…).run()   blocks until SIGTERM or SIGINT; SIGUSR1 asks for a rolling restart

Each replica has a task that starts it, waits for its end and starts it again. rolling replaces them.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvloop

from quantserve.core.errors import EXIT_INTERRUPTED, QuantserveError
from quantserve.core.files import write_json
from quantserve.serving.errors import EngineDied
from quantserve.serving.guard.settings import GuardSettings, read_user_settings
from quantserve.serving.health import decode_probe
from quantserve.serving.processes import die_with_parent
from quantserve.serving.replicas import metrics
from quantserve.serving.replicas.config import SupervisorSettings, say
from quantserve.serving.replicas.control import SIGNAL, read_request
from quantserve.serving.replicas.fitting import Fit, Lane
from quantserve.serving.replicas.front import Front
from quantserve.serving.replicas.public_port import PublicPort
from quantserve.serving.replicas.replica import Replica
from quantserve.serving.replicas.rolling import roll
from quantserve.serving.state import ServerState, remove_state, write_state
from quantserve.serving.supervise.orphans import Reaper
from quantserve.serving.supervise.restarts import Restarts

_PROBE_TIMEOUT_S = 60.0


class Supervisor:
    """Owns everything; `roll` in serving.replicas.rolling replaces its replicas."""

    def __init__(self, state: ServerState, fit: Fit, settings: SupervisorSettings) -> None:
        """`state` is what is written to the state file, without the replicas."""
        self.fit = fit
        self.settings = settings
        self.replicas: list[Replica] = []
        self._times = settings.times
        self.state = state
        self._code = 0
        self._tasks: dict[Replica, asyncio.Task[None]] = {}
        """One for each replica; it ends with the error of a replica that never became ready."""
        self._numbers = 0
        self._free_numbers: list[int] = []
        self._ports: dict[int, int] = {}

    def run(self) -> int:
        """Start, serve until asked to stop; return the exit code.

        Raises:
            EngineDied, EngineNotReady: a replica did not start; nothing is left.
        """
        if self.settings.launcher.die_with_parent:
            die_with_parent()
        return uvloop.run(self._run())

    async def _run(self) -> int:
        self._began = asyncio.get_running_loop().time()
        self._stop = asyncio.Event()
        self._roll_asked = asyncio.Event()
        self._handle_signals()
        settings, path = self.settings, self.settings.options.guard
        guard = GuardSettings.model_validate(read_user_settings(Path(path) if path is not None else None))
        keys = settings.options.keys is not None
        self._front = Front(settings.front, settings.picking, guard, keys=keys)
        self._port = PublicPort(self._front, guard.limits, settings.front.most_held_bytes)
        self._reaper = Reaper(self._times.orphan_grace_s)
        tls = self.fit.tls.server_context() if self.fit.tls is not None else None
        await self._port.open(settings.options.host, self.state.port, tls)
        watching = asyncio.create_task(self._watch())
        try:
            self.record()
            for lane in self.fit.lanes[: settings.options.replicas]:
                self.launch(self.new_replica(lane, self.fit))
            await self._unless_stopped(self._all_ready())
            if not self._stop.is_set():
                await self._become_ready()
            while not self._stop.is_set():
                await self._unless_stopped(self._roll_when_asked())
        finally:
            await self._end(watching)
        return self._code

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(signum, self._on_signal, signum)
        loop.add_signal_handler(SIGNAL, self._roll_asked.set)

    def _on_signal(self, signum: int) -> None:
        if self._stop.is_set():  # whoever asks twice does not want to wait for the drain
            for replica in self.replicas:
                replica.kill()
        self._code = EXIT_INTERRUPTED if signum == signal.SIGINT else 0
        self._stop.set()

    async def _watch(self) -> None:
        """Write what the replicas say of themselves into the state file."""
        while True:
            await asyncio.sleep(self._times.watch_s)
            self.record()

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it, and give it up when asked to stop; whatever it began ends with the rest."""
        task, stopping = asyncio.create_task(work), asyncio.create_task(self._stop.wait())
        await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        elif not self._stop.is_set():
            task.result()

    async def _all_ready(self) -> None:
        """Wait for every replica.

        Raises:
            EngineDied, EngineNotReady: one did not start.
        """
        ready: asyncio.Future[Any] = asyncio.gather(*(replica.ready.wait() for replica in self.replicas))
        try:
            done, _ = await asyncio.wait([ready, *self._tasks.values()], return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            ready.cancel()

    async def _become_ready(self) -> None:
        probe = await asyncio.to_thread(decode_probe, self.state.url, self.state.model, _PROBE_TIMEOUT_S)
        if not probe.ok:
            raise EngineDied(f"no token came through the front: {probe.problem}")
        states = [replica.state for replica in self.replicas]
        tokens = [state.kv_cache_tokens for state in states if state and state.kv_cache_tokens is not None]
        self.record(
            status="ready",
            ready_s=round(asyncio.get_running_loop().time() - self._began, 1),
            kv_cache_tokens=sum(tokens) if tokens else None,
        )
        if self.settings.launcher.ready_file is not None:
            write_json(self.settings.launcher.ready_file, self.state.to_json(), private=True)
        say(
            f"ready in {self.state.ready_s} s: {len(self.replicas)} replicas of {self.state.model} behind "
            f"{self.state.base_url} ({self.settings.picking.policy})"
        )

    async def _roll_when_asked(self) -> None:
        await self._roll_asked.wait()
        self._roll_asked.clear()
        request = read_request(self.settings.run)
        if request is not None:
            await roll(self, request)

    async def _end(self, watching: asyncio.Task[None]) -> None:
        """No new work, let what runs finish, end the replicas, leave nothing behind."""
        self._stop.set()
        self._front.draining = True
        self.record(status="stopping")
        await self._port.close(float(self.fit.plan.drain_s))
        margin = self._times.stop_margin_s
        await asyncio.gather(*(each.stop(each.fit.plan.drain_s + margin) for each in self.replicas))
        tasks = [watching, *self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._reaper.close()
        for path in (self.settings.state_file, self.settings.launcher.ready_file):
            if path is not None:
                remove_state(path, self.state.pid)

    # the replicas

    def new_replica(self, lane: Lane, fit: Fit) -> Replica:
        """Return a replica in a folder that no other uses now."""
        if self._free_numbers:
            number = self._free_numbers.pop(0)
        else:
            self._numbers += 1
            number = self._numbers
        replica = Replica(number, lane, fit, self.settings.run, self.settings.options.host)
        replica.port = self._ports.get(number, 0)
        return replica

    def _free(self, replica: Replica) -> None:
        """Give its folder free; the port stays with it, for the audit log is named by the port."""
        self.replicas.remove(replica)
        self._ports[replica.number] = replica.port
        self._free_numbers.append(replica.number)

    def launch(self, replica: Replica) -> asyncio.Task[None]:
        """Begin to look after a replica."""
        self.replicas.append(replica)
        task = asyncio.create_task(self._keep_running(replica))
        self._tasks[replica] = task
        return task

    async def retire(self, replica: Replica) -> None:
        """Send a replica nothing more, let what runs there finish, and end it."""
        replica.retiring = True
        self._unregister(replica)
        end = asyncio.get_running_loop().time() + self._times.finish_s
        while self._front.picker.running[replica.name] > 0 and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(self._times.poll_s)
        await replica.stop(replica.fit.plan.drain_s + self._times.stop_margin_s)
        await self._tasks.pop(replica)
        self._free(replica)

    async def discard(self, replica: Replica) -> None:
        """End a replica that failed to start, with its task's error ignored: its message is known."""
        replica.retiring = True
        await replica.stop(self._times.stop_margin_s)
        await asyncio.gather(self._tasks.pop(replica), return_exceptions=True)
        self._free(replica)

    async def _keep_running(self, replica: Replica) -> None:
        """Start it, and start it again whenever it dies.

        Raises:
            EngineDied, EngineNotReady: it never became ready.
        """
        loop = asyncio.get_running_loop()
        restarts = Restarts(self._times.restart)
        while True:
            started = loop.time()
            try:
                await replica.start(self._times.ready_timeout_s, self.settings.serve)
                if replica.pid is not None:
                    self._reaper.watch(replica.pid)
                await replica.wait_ready(self._times.ready_timeout_s, self._times.poll_s)
                self._register(replica)
                await replica.ended()
                problem = replica.ending()
            except (QuantserveError, OSError) as error:
                await replica.stop(self._times.stop_margin_s)
                if not replica.was_ready and not replica.retiring:
                    raise
                problem = f"did not start: {error}"
            finally:
                if replica.pid is not None:
                    self._reaper.forget(replica.pid)
            self._unregister(replica)
            if replica.retiring or self._stop.is_set():
                return
            now = loop.time()
            pause = restarts.next_delay_s(now, now - started)
            replica.failures = restarts.count(now)
            if pause is None:
                say(f"replica {replica.number} {problem}; {replica.failures} restarts did not help")
                return
            metrics.RESTARTS.labels("replica").inc()
            say(f"replica {replica.number} {problem}; it is started again in {pause:.1f} s")
            await asyncio.sleep(pause)

    def _register(self, replica: Replica) -> None:
        replica.was_ready = True
        if replica.retiring or self._stop.is_set():
            return
        replica.registered = True
        self._front.add(replica.name, replica.url)
        self.record()
        replica.ready.set()

    def _unregister(self, replica: Replica) -> None:
        replica.registered = False
        self._front.remove(replica.name)
        self.record()

    def record(self, **fields: object) -> None:
        """Write the state file, where it changed."""
        before = self.state
        self.state = before.changed(replicas=[replica.report() for replica in self.replicas], **fields)
        if self.settings.state_file is not None and self.state != before:
            write_state(self.settings.state_file, self.state)
