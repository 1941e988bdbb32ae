"""The one process that owns front, router and replicas, from their start to their end.

    Supervisor(…).run()   blocks until SIGTERM or SIGINT; SIGUSR1 asks for a rolling restart

Each part has one task that starts it, waits for its end and starts it again. What the router should have is
compared with what it has, whenever something changed and every few seconds, so nothing missed stays missed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from aiohttp import web

from core.console import console
from core.errors import EXIT_INTERRUPTED, QuantserveError
from core.files import write_json
from serving.background import serve_argv
from serving.config import LOOPBACK, LauncherOptions, RunDirectory, ServeOptions
from serving.errors import EngineDied, ServingError
from serving.guard.paths import PathTable
from serving.guard.planning import read_user_settings
from serving.health import decode_probe
from serving.logs import read_tail, telling_line
from serving.ports import claim_port, url_of
from serving.processes import die_with_parent
from serving.replicas import metrics
from serving.replicas.config import FrontOptions, RouterOptions, SupervisorOptions
from serving.replicas.control import SIGNAL, read_request
from serving.replicas.fitting import Fit
from serving.replicas.front import Front
from serving.replicas.replica import Replica, ServeArgv
from serving.replicas.rolling import roll
from serving.replicas.router import RouterClient, router_argv
from serving.replicas.shares import Lane
from serving.state import ServerState, remove_state, write_state
from serving.supervise.orphans import Reaper
from serving.supervise.restarts import Restarts

_ROOT = Path(__file__).resolve().parents[2]
_PROBE_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Settings:
    """Everything the supervisor is told besides what a replica is."""

    options: ServeOptions
    run: RunDirectory
    launcher: LauncherOptions
    state_file: Path | None
    router: RouterOptions = field(default_factory=RouterOptions)
    front: FrontOptions = field(default_factory=FrontOptions)
    times: SupervisorOptions = field(default_factory=SupervisorOptions)
    serve: ServeArgv = serve_argv
    """Makes the command line of one replica."""


class Supervisor:
    """Owns everything; `roll` in serving.replicas.rolling replaces its replicas."""

    def __init__(self, state: ServerState, fit: Fit, settings: Settings) -> None:
        """`state` is what is written to the state file, without replicas and router."""
        self.fit = fit
        self.settings = settings
        self.times = settings.times
        self.replicas: list[Replica] = []
        self._state = state
        self._tasks: dict[Replica, asyncio.Task[None]] = {}
        self._numbers = 0
        self._free_numbers: list[int] = []
        self._ports: dict[int, int] = {}
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
        self._reconciling = asyncio.Lock()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(signum, self._on_signal, signum)
        loop.add_signal_handler(SIGNAL, self._roll_asked.set)
        options = self.settings.options
        user = read_user_settings(Path(options.guard) if options.guard is not None else None)
        self._front = Front(
            self.settings.front, self.settings.router.policy, PathTable(tuple(user.get("extra_paths", ())))
        )
        self._router = RouterClient(self._front.session, url_of(LOOPBACK, claim_port(LOOPBACK, 0)))
        self._router_metrics = claim_port(LOOPBACK, 0)
        self._router_process: asyncio.subprocess.Process | None = None
        self._reaper = Reaper(self.times.orphan_grace_s)
        helpers: list[asyncio.Task[None]] = []
        runner = await self._listen()
        try:
            self.record()
            helpers = [asyncio.create_task(self._tend_router()), asyncio.create_task(self._watch())]
            for lane in self.fit.lanes[: options.replicas]:
                self.launch(self.new_replica(lane, self.fit))
            await self._until_all_ready(helpers[0])
            if not self._stop.is_set():
                await self._become_ready()
            while not self._stop.is_set():
                await self._next_roll()
        finally:
            await self._end(runner, helpers)
        return self._code

    def _on_signal(self, signum: int) -> None:
        if self._stop.is_set():  # whoever asks twice does not want to wait for the drain
            for replica in self.replicas:
                replica.kill()
        self._code = EXIT_INTERRUPTED if signum == signal.SIGINT else 0
        self._stop.set()

    async def _listen(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._front.handle)
        runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=float(self.fit.plan.drain_s),
        )
        await runner.setup()
        host, port = self.settings.options.host, self._state.port
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024
        )
        await web.SockSite(runner, listener).start()
        return runner

    # ── replicas ────────────────────────────────────────────────────────────────────────────────────────

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
        task = asyncio.create_task(self._tend(replica))
        self._tasks[replica] = task
        return task

    async def retire(self, replica: Replica) -> None:
        """Take a replica out of the router, let what runs there finish, and end it."""
        replica.retiring = True
        await self._unregister(replica)
        await asyncio.sleep(self.times.settle_s)
        end = asyncio.get_running_loop().time() + self.times.finish_s
        while self._front.running[replica.name] > 0 and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(self.times.poll_s)
        await replica.stop(self.fit.plan.drain_s + self.times.stop_margin_s)
        await self._tasks.pop(replica)
        self._free(replica)

    async def discard(self, replica: Replica) -> None:
        """End a replica that failed to start, with its task's error ignored: its message is known."""
        replica.retiring = True
        await replica.stop(self.times.stop_margin_s)
        await asyncio.gather(self._tasks.pop(replica), return_exceptions=True)
        self._free(replica)

    async def _tend(self, replica: Replica) -> None:
        """Start it, and start it again whenever it dies.

        Raises:
            EngineDied, EngineNotReady: it never became ready.
        """
        loop = asyncio.get_running_loop()
        restarts = Restarts(self.times.restart)
        while True:
            started = loop.time()
            try:
                await replica.start(self.times.ready_timeout_s, self.settings.serve)
                if replica.pid is not None:
                    self._reaper.watch(replica.pid)
                await replica.wait_ready(self.times.ready_timeout_s, self.times.poll_s)
                await self._register(replica)
                code = await replica.ended()
                problem = f"ended with code {code}: {replica.complaint()}"
            except (QuantserveError, OSError) as error:
                await replica.stop(self.times.stop_margin_s)
                if not replica.was_ready and not replica.retiring:
                    raise
                problem = f"did not start: {error}"
            finally:
                if replica.pid is not None:
                    self._reaper.forget(replica.pid)
            await self._unregister(replica)
            if replica.window is not None:
                await replica.window.close()
                replica.window = None
            if replica.retiring or self._stop.is_set():
                return
            now = loop.time()
            pause = restarts.next_delay_s(now, now - started)
            replica.failures = restarts.count(now)
            if pause is None:
                self.say(f"replica {replica.number} {problem}; {replica.failures} restarts did not help")
                return
            metrics.RESTARTS.labels("replica").inc()
            self.say(f"replica {replica.number} {problem}; it is started again in {pause:.1f} s")
            await asyncio.sleep(pause)

    async def _register(self, replica: Replica) -> None:
        replica.was_ready = True
        if replica.retiring or self._stop.is_set():
            return
        replica.registered = True
        self._front.replicas[replica.name] = replica.url
        replica.window = await self._front.picker.open_window(replica.name, replica.url)
        await self._reconcile_until_done()
        self.record()
        replica.ready.set()

    async def _unregister(self, replica: Replica) -> None:
        replica.registered = False
        self._front.replicas.pop(replica.name, None)
        self.record()
        if not self._stop.is_set():
            await self._reconcile_until_done()

    async def _reconcile_until_done(self) -> None:
        """Tell the router of a change; a router that is away is told when it is back."""
        while not self._stop.is_set():
            try:
                await self._reconcile()
            except ServingError:
                await asyncio.sleep(self.times.poll_s)
            else:
                return

    async def _reconcile(self) -> None:
        async with self._reconciling:
            windows = [replica.window for replica in self.replicas if replica.registered]
            wanted = {window.url for window in windows if window is not None}
            has = await self._router.workers()
            for url in sorted(wanted - has):
                await self._router.add(url)
            for url in sorted(has - wanted):
                await self._router.remove(url)
            metrics.REPLICAS.set(len(wanted))

    # ── router ──────────────────────────────────────────────────────────────────────────────────────────

    async def _tend_router(self) -> None:
        """Start it, and start it again whenever it ends.

        Raises:
            EngineDied: it never answered.
        """
        loop = asyncio.get_running_loop()
        restarts = Restarts(replace(self.times.restart, limit=self.times.router_attempts))
        port = int(self._router.url.rpartition(":")[2])
        while not self._stop.is_set():
            started = loop.time()
            words = router_argv(self.settings.router, port, self._router_metrics, os.getpid())
            with self._router_log.open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    *words,
                    env={**os.environ, "PYTHONPATH": str(_ROOT), "RUST_LOG": "warn"},
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self._router_process = process
            self._reaper.watch(process.pid)
            while process.returncode is None and not await self._router.alive():
                await asyncio.sleep(self.times.poll_s / 2)
            if process.returncode is None:
                restarts.options = self.times.restart
                await self._reconcile_until_done()
                self._front.picker.router_url = self._router.url
            code = await process.wait()
            self._front.picker.router_url = ""
            self._reaper.forget(process.pid)
            if self._stop.is_set():
                return
            pause = restarts.next_delay_s(loop.time(), loop.time() - started)
            if pause is None:
                raise EngineDied(f"the router does not start: {telling_line(read_tail(self._router_log))}")
            metrics.RESTARTS.labels("router").inc()
            self.say(f"the router ended with code {code}; it is started again in {pause:.1f} s")
            await asyncio.sleep(pause)

    @property
    def _router_log(self) -> Path:
        return self.settings.run.path / "router.log"

    async def _watch(self) -> None:
        """Every few seconds: does the router have what it should, and does it answer at all?"""
        silent = 0
        while True:
            await asyncio.sleep(self.times.watch_s)
            self.record()
            process = self._router_process
            if process is None or process.returncode is not None or not self._front.picker.router_url:
                silent = 0
                continue
            try:
                await self._reconcile()
                silent = 0
            except ServingError as error:
                silent += 1
                self.say(str(error))
            if silent >= self.times.router_silences and process.returncode is None:
                self.say("the router does not answer and is replaced")
                process.kill()
                silent = 0

    # ── start, rolling restart, end ─────────────────────────────────────────────────────────────────────

    async def _until_all_ready(self, router: asyncio.Task[None]) -> None:
        async def all_ready() -> None:
            for replica in self.replicas:
                await replica.ready.wait()

        stopping = asyncio.create_task(self._stopped())
        ready = asyncio.create_task(all_ready())
        waiting: list[asyncio.Task[None]] = [stopping, ready, router, *self._tasks.values()]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in (router, *self._tasks.values()):
                if task.done() and not self._stop.is_set():
                    task.result()
        finally:
            stopping.cancel()
            ready.cancel()

    async def _become_ready(self) -> None:
        while not self._front.picker.router_url:
            await asyncio.sleep(self.times.poll_s)
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
            write_json(self.settings.launcher.ready_file, self._state.to_json())
        self.say(
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

    async def _end(self, runner: web.AppRunner, helpers: list[asyncio.Task[None]]) -> None:
        """No new work, let what runs finish, end router and replicas, leave nothing behind."""
        self._stop.set()
        self._front.draining = True
        self.record(status="stopping")
        await runner.cleanup()
        process = self._router_process
        if process is not None and process.returncode is None:
            process.terminate()
        grace = self.fit.plan.drain_s + self.times.stop_margin_s
        await asyncio.gather(*(replica.stop(grace) for replica in self.replicas))
        if process is not None and process.returncode is None:
            process.kill()
        for task in (*helpers, *self._tasks.values()):
            task.cancel()
        await asyncio.gather(*helpers, *self._tasks.values(), return_exceptions=True)
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
        process = self._router_process
        before = self._state
        self._state = before.changed(
            replicas=[replica.report() for replica in self.replicas],
            router={
                "url": self._router.url,
                "metrics_url": f"{url_of(LOOPBACK, self._router_metrics)}/metrics",
                "policy": self.settings.router.policy,
                "pid": process.pid if process is not None and process.returncode is None else None,
                "log": str(self._router_log),
            },
            **fields,
        )
        if self.settings.state_file is not None and self._state != before:
            write_state(self.settings.state_file, self._state)

    @staticmethod
    def say(text: str) -> None:
        """One line into the log."""
        console.print(text, markup=False, soft_wrap=True)
        sys.stderr.flush()
