"""Collect samples every `period_s` while a cell runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from time import monotonic, perf_counter, time
from typing import Any

import httpx

from quantserve.benchmarks.observe import gpu, processes, prometheus

Sample = dict[str, Any]


class Sampler:
    """Server metrics, process tree, GPU and machine, in one row per period."""

    def __init__(
        self, base_url: str, pids: Sequence[int], api_key: str | None, period_s: float = 1.0
    ) -> None:
        """`pids` are the roots of the server's process trees on this machine, empty when not known."""
        self._url = base_url.rstrip("/").removesuffix("/v1") + "/metrics"
        self._pids = tuple(pids)
        self._trees = processes.ProcessTrees(pids)
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._period_s = period_s
        self._has_metrics = True

    def local(self, epoch_s: float) -> Sample:
        """What this machine alone knows now: clocks, CPU of machine, client and server."""
        row: Sample = {"t_s": perf_counter() - epoch_s, "wall_s": time(), "monotonic_s": monotonic()}
        row |= processes.machine_sample()
        row["own_cpu_s"] = processes.own_cpu_s(self._pids)
        row |= self._trees.sample()
        return row

    async def one(self, client: httpx.AsyncClient, epoch_s: float) -> Sample:
        """Take one whole sample now."""
        row = self.local(epoch_s)
        row |= await gpu.sample()
        if self._has_metrics:
            try:
                reply = await client.get(self._url, headers=self._headers)
                self._has_metrics = reply.status_code == 200
                if self._has_metrics:
                    row |= prometheus.parse(reply.text)
            except httpx.HTTPError:
                row["metrics_failed"] = 1
        return row

    @contextlib.asynccontextmanager
    async def running(self, epoch_s: float, rows: list[Sample]) -> AsyncIterator[None]:
        """Sample into `rows` inside the block; the first and the last sample are at its borders."""
        async with httpx.AsyncClient(timeout=5.0, trust_env=False) as client:
            rows.append(await self.one(client, epoch_s))

            async def loop() -> None:
                while True:
                    await asyncio.sleep(self._period_s)
                    rows.append(await self.one(client, epoch_s))

            task = asyncio.create_task(loop())
            try:
                yield
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                rows.append(await self.one(client, epoch_s))
