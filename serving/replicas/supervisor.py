"""The one process that owns front, router and replicas, from their start to their end.

    Supervisor(…).run()   blocks until SIGTERM or SIGINT; SIGUSR1 asks for a rolling restart

The parts are kept running by router_keeper and replica_keeper, and replaced by rolling. Here is decided when,
and what the state file says.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from aiohttp import web

from quantserve.core.errors import EXIT_INTERRUPTED
from quantserve.core.files import write_json
from quantserve.serving.errors import EngineDied
from quantserve.serving.guard.paths import PathTable
from quantserve.serving.guard.planning import read_user_settings
from quantserve.serving.health import decode_probe
from quantserve.serving.processes import die_with_parent
from quantserve.serving.replicas.control import SIGNAL, read_request
from quantserve.serving.replicas.fitting import Fit
from quantserve.serving.replicas.front import Front
from quantserve.serving.replicas.public_port import listen
from quantserve.serving.replicas.replica import Replica
from quantserve.serving.replicas.replica_keeper import ReplicaKeeper
from quantserve.serving.replicas.rolling import roll
from quantserve.serving.replicas.router_keeper import RouterKeeper
from quantserve.serving.replicas.say import say
from quantserve.serving.replicas.settings import Settings
from quantserve.serving.state import ServerState, remove_state, write_state
from quantserve.serving.supervise.orphans import Reaper

_PROBE_TIMEOUT_S = 60.0


class Supervisor:
    """Owns everything; `roll` in serving.replicas.rolling replaces its replicas."""

    def __init__(self, state: ServerState, fit: Fit, settings: Settings) -> None:
        """`state` is what is written to the state file, without replicas and router."""
        self.fit = fit
        self.settings = settings
        self.replicas: list[Replica] = []
        self._times = settings.times
        self._state = state
        self._code = 0

    def run(self) -> int:
        """Start, serve until asked to stop; return the exit code.

        Raises:
            EngineDied, EngineNotReady: a replica did not start; nothing is left.
        """
        if self.settings.launcher.die_with_parent:
            die_with_parent()
        return asyncio.run(self._run())

    async def _run(self) -> int:
        self._began = asyncio.get_running_loop().time()
        self._stop = asyncio.Event()
        self._roll_asked = asyncio.Event()
        self._handle_signals()
        self._make_parts()
        helpers: list[asyncio.Task[None]] = []
        runner = await self._listen()
        try:
            self.record()
            helpers = [
                asyncio.create_task(self._router_keeper.keep_running()),
                asyncio.create_task(self._router_keeper.watch()),
            ]
            for lane in self.fit.lanes[: self.settings.options.replicas]:
                self.replica_keeper.launch(self.replica_keeper.new_replica(lane, self.fit))
            await self._until_all_ready(helpers[0])
            if not self._stop.is_set():
                await self._become_ready()
            while not self._stop.is_set():
                await self._next_roll()
        finally:
            await self._end(runner, helpers)
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

    def _make_parts(self) -> None:
        """Make the front and the keepers; of processes only the reaper is started."""
        settings, guard = self.settings, self.settings.options.guard
        user = read_user_settings(Path(guard) if guard is not None else None)
        paths = PathTable(tuple(user.get("extra_paths", ())))
        origins = None if settings.options.keys is not None else tuple(user.get("allowed_origins", ()))
        self._front = front = Front(settings.front, settings.router.policy, paths, origins)
        self._reaper = reaper = Reaper(self._times.orphan_grace_s)
        self._router_keeper = RouterKeeper(settings, front, self.replicas, reaper, self._stop, self.record)
        self.replica_keeper = ReplicaKeeper(
            settings, front, self._router_keeper, self.replicas, reaper, self._stop, self.record
        )

    async def _listen(self) -> web.ServerRunner:
        host, port = self.settings.options.host, self._state.port
        tls = self.fit.tls.server_context() if self.fit.tls is not None else None
        return await listen(self._front.handle, host, port, float(self.fit.plan.drain_s), tls)

    async def _until_all_ready(self, router: asyncio.Task[None]) -> None:
        async def all_ready() -> None:
            for replica in self.replicas:
                await replica.ready.wait()

        stopping = asyncio.create_task(self._stopped())
        ready = asyncio.create_task(all_ready())
        parts = [router, *self.replica_keeper.tasks]
        try:
            await asyncio.wait([stopping, ready, *parts], return_when=asyncio.FIRST_COMPLETED)
            for task in parts:
                if task.done() and not self._stop.is_set():
                    task.result()
        finally:
            stopping.cancel()
            ready.cancel()

    async def _become_ready(self) -> None:
        while not self._front.picker.router_url:
            await asyncio.sleep(self._times.poll_s)
        probe = await asyncio.to_thread(decode_probe, self._state.url, self._state.model, _PROBE_TIMEOUT_S)
        if not probe.ok:
            raise EngineDied(f"no token came through the router: {probe.problem}")
        states = [replica.state for replica in self.replicas]
        tokens = [state.kv_cache_tokens for state in states if state and state.kv_cache_tokens is not None]
        self.record(
            status="ready",
            ready_s=round(asyncio.get_running_loop().time() - self._began, 1),
            kv_cache_tokens=sum(tokens) if tokens else None,
        )
        if self.settings.launcher.ready_file is not None:
            write_json(self.settings.launcher.ready_file, self._state.to_json(), private=True)
        say(
            f"ready in {self._state.ready_s} s: {len(self.replicas)} replicas of {self._state.model} behind "
            f"{self._state.base_url} ({self.settings.router.policy})"
        )

    async def _stopped(self) -> None:
        await self._stop.wait()

    async def _next_roll(self) -> None:
        """Wait for a rolling restart to be asked for, and make it."""
        stopping = asyncio.create_task(self._stopped())
        rolling = asyncio.create_task(self._roll_when_asked())
        await asyncio.wait([stopping, rolling], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if rolling.done():
            rolling.result()
            return
        rolling.cancel()  # whatever it began is among the replicas, which end with the rest
        await asyncio.gather(rolling, return_exceptions=True)

    async def _roll_when_asked(self) -> None:
        await self._roll_asked.wait()
        self._roll_asked.clear()
        request = read_request(self.settings.run)
        if request is not None:
            await roll(self, request)

    async def _end(self, runner: web.ServerRunner, helpers: list[asyncio.Task[None]]) -> None:
        """No new work, let what runs finish, end router and replicas, leave nothing behind."""
        self._stop.set()
        self._front.draining = True
        self.record(status="stopping")
        await runner.cleanup()
        self._router_keeper.terminate()
        await self.replica_keeper.stop_all()
        self._router_keeper.kill()
        tasks = [*helpers, *self.replica_keeper.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._front.close()
        self._reaper.close()
        for path in (self.settings.state_file, self.settings.launcher.ready_file):
            if path is not None:
                remove_state(path, self._state.pid)

    @property
    def state(self) -> ServerState:
        """What the state file holds."""
        return self._state

    def record(self, **fields: object) -> None:
        """Write the state file, where it changed."""
        before = self._state
        self._state = before.changed(
            replicas=[replica.report() for replica in self.replicas],
            router=self._router_keeper.report(),
            **fields,
        )
        if self.settings.state_file is not None and self._state != before:
            write_state(self.settings.state_file, self._state)
