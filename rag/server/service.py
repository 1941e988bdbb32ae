"""What the routes share: the engine, the threads that answer, the jobs, and all that is told of a request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from quantserve.core.errors import QuantserveError
from quantserve.rag.config import EmbeddingConfig, RagConfig
from quantserve.rag.embedding.backend import Embedder, load_embedder
from quantserve.rag.errors import NoIndex
from quantserve.rag.server.config import ServerConfig
from quantserve.rag.server.connections import Connections
from quantserve.rag.server.engine import Engine
from quantserve.rag.server.exchange import Exchange
from quantserve.rag.server.jobs import Job, Jobs
from quantserve.rag.server.keys import KeyRing
from quantserve.rag.server.metrics import Metrics
from quantserve.rag.server.request_log import RequestLog
from quantserve.rag.server.shares import Room, Turns
from quantserve.rag.server.tickets import Tickets
from quantserve.rag.server.tracing import Tracing
from quantserve.rag.server.uploads import clear_halves
from quantserve.rag.server.wandb_log import WandbLog

_LOGGER = logging.getLogger("uvicorn.error")


class Service:
    """One running server's parts."""

    def __init__(
        self,
        rag: RagConfig,
        config: ServerConfig,
        load_model: Callable[[EmbeddingConfig], Embedder] = load_embedder,
    ) -> None:
        """Open the log and the keys; nothing heavy is loaded yet.

        Raises:
            QuantserveError: the log, the keys file, the guard file or the calibration cannot be used, or
                wandb is asked for and absent.
        """
        self.config = config
        self.engine = Engine(rag, load_model)
        self.keys = KeyRing(config.keys_file) if config.keys_file is not None else None
        self.tickets = Tickets()
        bounds, has_keys = config.bounds, self.keys is not None
        # Without keys everybody is the same, so there is nothing to share out.
        self.room = Room(bounds.max_requests, bounds.max_requests_per_key if has_keys else None)
        self.uploads = Room(
            bounds.max_uploads, bounds.max_uploads_per_key if has_keys else None, what="uploads"
        )
        self.turns = Turns(bounds.max_threads, max(1, bounds.max_threads // 2) if has_keys else None)
        """Questions that are worked on at once."""
        self.connections = Connections(bounds)
        self.executor = ThreadPoolExecutor(config.bounds.max_threads, "search")
        self.metrics = Metrics(self.engine, self.room)
        self.tracing = Tracing(config.otlp_endpoint)
        self.wandb = WandbLog(config.wandb_project)
        self.log = RequestLog(config.log)
        self.jobs = Jobs(rag, config, self._swap, self._job_ended)
        self.is_warm = False
        """Whether the index and the embedding model are loaded."""
        self._warming: asyncio.Task[None] | None = None

    async def in_thread(self, work: Callable[[], Any]) -> Any:
        """Run short blocking work beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self.executor, work)

    def start(self) -> None:
        """Begin to take jobs, and load the index beside the first requests."""
        clear_halves(self.config.upload_dir)
        self.jobs.start()
        self._warming = asyncio.create_task(self._warm())

    async def stop(self) -> None:
        """End the jobs and write what waits."""
        await self.jobs.stop()
        if self._warming is not None:
            self._warming.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._warming
        self.executor.shutdown(wait=False, cancel_futures=True)
        self.tracing.close()
        self.wandb.close()
        self.log.close()

    async def _warm(self) -> None:
        def load() -> None:
            try:
                self.engine.searcher(wait=True)
            except NoIndex:
                self.engine.load_model()

        def meet_the_model_server() -> None:
            """Import and connect the client before the first question; its own errors wait until then."""
            with contextlib.suppress(QuantserveError):
                self.engine.check_model()

        try:
            await self.in_thread(load)
        except QuantserveError as error:
            self.engine.problem = str(error)
            _LOGGER.error("%s", error)
            return
        self.is_warm = True
        await self.in_thread(meet_the_model_server)

    def _swap(self) -> None:
        """Load the generation a job has made."""
        try:
            self.engine.searcher(wait=True)
        except NoIndex:
            return
        except QuantserveError as error:
            _LOGGER.error("%s", error)
            return
        self.is_warm = True

    def _job_ended(self, job: Job) -> None:
        self.metrics.job(job)
        self.log.note(
            job=job.id,
            kind=job.kind,
            state=job.state,
            seconds=job.seconds,
            documents=len(job.keys),
            problem=job.problem,
        )

    def ended(self, exchange: Exchange) -> None:
        """Note a request that has ended."""
        self.metrics.request(exchange)
        self.log.add(exchange)
        self.tracing.request(exchange)
        self.wandb.request(exchange)
