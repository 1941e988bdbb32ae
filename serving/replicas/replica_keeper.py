"""Keeps every replica running and in the router, from the order to start it to its orderly end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from quantserve.core.errors import QuantserveError
from quantserve.serving.replicas import metrics
from quantserve.serving.replicas.fitting import Fit
from quantserve.serving.replicas.front import Front
from quantserve.serving.replicas.replica import Replica
from quantserve.serving.replicas.router_keeper import RouterKeeper
from quantserve.serving.replicas.say import say
from quantserve.serving.replicas.settings import Settings
from quantserve.serving.replicas.shares import Lane
from quantserve.serving.supervise.orphans import Reaper
from quantserve.serving.supervise.restarts import Restarts


class ReplicaKeeper:
    """Has one task for each replica, which starts it, waits for its end and starts it again."""

    def __init__(
        self,
        settings: Settings,
        front: Front,
        router: RouterKeeper,
        replicas: list[Replica],
        reaper: Reaper,
        stop: asyncio.Event,
        record: Callable[[], None],
    ) -> None:
        """`replicas` is the supervisor's list, which is changed here; `record` writes the state file."""
        self._settings = settings
        self._times = settings.times
        self._front = front
        self._router = router
        self._replicas = replicas
        self._reaper = reaper
        self._stop = stop
        self._record = record
        self._tasks: dict[Replica, asyncio.Task[None]] = {}
        self._numbers = 0
        self._free_numbers: list[int] = []
        self._ports: dict[int, int] = {}

    @property
    def tasks(self) -> Iterable[asyncio.Task[None]]:
        """One for each replica; it ends with the error of a replica that never became ready."""
        return self._tasks.values()

    def new_replica(self, lane: Lane, fit: Fit) -> Replica:
        """Return a replica in a folder that no other uses now."""
        if self._free_numbers:
            number = self._free_numbers.pop(0)
        else:
            self._numbers += 1
            number = self._numbers
        replica = Replica(number, lane, fit, self._settings.run, self._settings.options.host)
        replica.port = self._ports.get(number, 0)
        return replica

    def _free(self, replica: Replica) -> None:
        """Give its folder free; the port stays with it, for the audit log is named by the port."""
        self._replicas.remove(replica)
        self._ports[replica.number] = replica.port
        self._free_numbers.append(replica.number)

    def launch(self, replica: Replica) -> asyncio.Task[None]:
        """Begin to look after a replica."""
        self._replicas.append(replica)
        task = asyncio.create_task(self._keep_running(replica))
        self._tasks[replica] = task
        return task

    async def retire(self, replica: Replica) -> None:
        """Take a replica out of the router, let what runs there finish, and end it."""
        replica.retiring = True
        await self._unregister(replica)
        await asyncio.sleep(self._times.settle_s)
        end = asyncio.get_running_loop().time() + self._times.finish_s
        while self._front.running[replica.name] > 0 and asyncio.get_running_loop().time() < end:
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

    async def stop_all(self) -> None:
        """End every replica, all at the same time; what runs there may finish."""
        margin = self._times.stop_margin_s
        await asyncio.gather(*(each.stop(each.fit.plan.drain_s + margin) for each in self._replicas))

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
                await replica.start(self._times.ready_timeout_s, self._settings.serve)
                if replica.pid is not None:
                    self._reaper.watch(replica.pid)
                await replica.wait_ready(self._times.ready_timeout_s, self._times.poll_s)
                await self._register(replica)
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
                say(f"replica {replica.number} {problem}; {replica.failures} restarts did not help")
                return
            metrics.RESTARTS.labels("replica").inc()
            say(f"replica {replica.number} {problem}; it is started again in {pause:.1f} s")
            await asyncio.sleep(pause)

    async def _register(self, replica: Replica) -> None:
        replica.was_ready = True
        if replica.retiring or self._stop.is_set():
            return
        replica.registered = True
        self._front.replicas[replica.name] = replica.url
        replica.window = await self._front.picker.open_window(replica.name, replica.url)
        await self._router.reconcile_until_done()
        self._record()
        replica.ready.set()

    async def _unregister(self, replica: Replica) -> None:
        replica.registered = False
        self._front.replicas.pop(replica.name, None)
        self._record()
        if not self._stop.is_set():
            await self._router.reconcile_until_done()
