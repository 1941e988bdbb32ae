"""Keeps the router running and its list of replicas right.

What the router should have is compared with what it has, whenever something changed and every few seconds, so
nothing missed stays missed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from quantserve.core.files import open_private
from quantserve.core.logs import read_tail, telling_line
from quantserve.serving.config import LOOPBACK
from quantserve.serving.errors import EngineDied, ServingError
from quantserve.serving.ports import claim_port, url_of
from quantserve.serving.replicas import metrics
from quantserve.serving.replicas.front import Front
from quantserve.serving.replicas.replica import Replica
from quantserve.serving.replicas.router import RouterClient, router_argv
from quantserve.serving.replicas.say import say
from quantserve.serving.replicas.settings import Settings
from quantserve.serving.supervise.orphans import Reaper
from quantserve.serving.supervise.restarts import Restarts

_ROOT = Path(__file__).resolve().parents[2]


class RouterKeeper:
    """Owns the router's process."""

    def __init__(
        self,
        settings: Settings,
        front: Front,
        replicas: Sequence[Replica],
        reaper: Reaper,
        stop: asyncio.Event,
        record: Callable[[], None],
    ) -> None:
        """`replicas` is the supervisor's own list, which changes; `record` writes the state file."""
        self._settings = settings
        self._times = settings.times
        self._front = front
        self._replicas = replicas
        self._reaper = reaper
        self._stop = stop
        self._record = record
        self._port = claim_port(LOOPBACK, 0)
        self._metrics_port = claim_port(LOOPBACK, 0)
        self._client = RouterClient(front.session, url_of(LOOPBACK, self._port))
        self._reconciling = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def _log(self) -> Path:
        return self._settings.run.path / "router.log"

    async def keep_running(self) -> None:
        """Start it, and start it again whenever it ends.

        Raises:
            EngineDied: it never answered.
        """
        loop = asyncio.get_running_loop()
        restarts = Restarts(replace(self._times.restart, limit=self._times.router_attempts))
        while not self._stop.is_set():
            started = loop.time()
            process = await self._start()
            while process.returncode is None and not await self._client.alive():
                await asyncio.sleep(self._times.poll_s / 2)
            if process.returncode is None:
                restarts.options = self._times.restart
                await self.reconcile_until_done()
                self._front.picker.router_url = self._client.url
            code = await process.wait()
            self._front.picker.router_url = ""
            self._reaper.forget(process.pid)
            if self._stop.is_set():
                return
            pause = restarts.next_delay_s(loop.time(), loop.time() - started)
            if pause is None:
                raise EngineDied(f"the router does not start: {telling_line(read_tail(self._log))}")
            metrics.RESTARTS.labels("router").inc()
            say(f"the router ended with code {code}; it is started again in {pause:.1f} s")
            await asyncio.sleep(pause)

    async def _start(self) -> asyncio.subprocess.Process:
        words = router_argv(self._settings.router, self._port, self._metrics_port, os.getpid())
        with open_private(self._log, "ab") as log:
            process = await asyncio.create_subprocess_exec(
                *words,
                env={**os.environ, "PYTHONPATH": str(_ROOT), "RUST_LOG": "warn"},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._process = process
        self._reaper.watch(process.pid)
        return process

    async def watch(self) -> None:
        """Every few seconds: does the router have what it should, and does it answer at all?"""
        silent = 0
        while True:
            await asyncio.sleep(self._times.watch_s)
            self._record()
            process = self._process
            if process is None or process.returncode is not None or not self._front.picker.router_url:
                silent = 0
                continue
            try:
                await self._reconcile()
                silent = 0
            except ServingError as error:
                silent += 1
                say(str(error))
            if silent >= self._times.router_silences and process.returncode is None:
                say("the router does not answer and is replaced")
                process.kill()
                silent = 0

    async def reconcile_until_done(self) -> None:
        """Tell the router of a change; a router that is away is told when it is back."""
        while not self._stop.is_set():
            try:
                await self._reconcile()
            except ServingError:
                await asyncio.sleep(self._times.poll_s)
            else:
                return

    async def _reconcile(self) -> None:
        async with self._reconciling:
            windows = [replica.window for replica in self._replicas if replica.registered]
            wanted = {window.url for window in windows if window is not None}
            has = await self._client.workers()
            for url in sorted(wanted - has):
                await self._client.add(url)
            for url in sorted(has - wanted):
                await self._client.remove(url)
            metrics.REPLICAS.set(len(wanted))

    @property
    def _running(self) -> asyncio.subprocess.Process | None:
        process = self._process
        return process if process is not None and process.returncode is None else None

    def terminate(self) -> None:
        """Ask it to end."""
        if (process := self._running) is not None:
            process.terminate()

    def kill(self) -> None:
        """End it at once."""
        if (process := self._running) is not None:
            process.kill()

    def report(self) -> dict[str, Any]:
        """Return what the state file says of it."""
        process = self._running
        return {
            "url": self._client.url,
            "metrics_url": f"{url_of(LOOPBACK, self._metrics_port)}/metrics",
            "policy": self._settings.router.policy,
            "pid": process.pid if process is not None else None,
            "log": str(self._log),
        }
