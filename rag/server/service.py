"""What the routes share: the engine, the threads that answer, the jobs, and all that is told of a request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from quantserve.core.errors import QuantserveError
from quantserve.core.http.admission import Places
from quantserve.core.http.connections import ConnectionBounds, Connections
from quantserve.core.http.keys import KeyRing
from quantserve.core.http.private_log import PrivateLog, timestamp
from quantserve.rag.config import EmbeddingConfig, RagConfig
from quantserve.rag.embedding.backend import Embedder, load_embedder
from quantserve.rag.errors import NoIndex
from quantserve.rag.server.config import ServerConfig, key_rules
from quantserve.rag.server.engine import AnswerEngine
from quantserve.rag.server.gate import AnswerExchange, Tickets
from quantserve.rag.server.indexing.jobs import IndexJob, Jobs
from quantserve.rag.server.indexing.uploads import clear_halves
from quantserve.rag.server.live import Turns
from quantserve.rag.server.observability import Metrics, Tracing, WandbLog, entry_of, is_logged

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
        self.engine = AnswerEngine(rag, load_model)
        self.keys = KeyRing(config.keys_file, key_rules()) if config.keys_file is not None else None
        self.tickets = Tickets()
        bounds, has_keys = config.bounds, self.keys is not None
        # Without keys everybody is the same, so there is nothing to share out.
        self.room = Places(
            bounds.max_requests,
            bounds.max_requests_per_key if has_keys else None,
            what="questions",
            code="too_many_requests",
        )
        self.uploads = Places(
            bounds.max_uploads,
            bounds.max_uploads_per_key if has_keys else None,
            what="uploads",
            code="too_many_uploads",
        )
        self.turns = Turns(bounds.max_threads, max(1, bounds.max_threads // 2) if has_keys else None)
        """Questions that are worked on at once."""
        self.connections = Connections(
            ConnectionBounds(
                bounds.max_header_bytes,
                bounds.header_timeout_s,
                bounds.max_connections,
                bounds.max_connections_per_address,
            )
        )
        self.executor = ThreadPoolExecutor(config.bounds.max_threads, "search")
        self.metrics = Metrics(self.engine, self.room)
        self.tracing = Tracing(config.otlp_endpoint)
        self.wandb = WandbLog(config.wandb_project)
        log = config.log
        mend = "Choose another: --log FILE"
        self.log = PrivateLog(log.file, log.max_bytes, log.files, what="log", mend=mend)
        self.jobs = Jobs(
            rag,
            config.upload_dir,
            most_waiting=bounds.max_jobs,
            most_waiting_per_key=bounds.max_jobs_per_key,
            lock_wait_s=config.lock_wait_s,
            swapped=self._swap,
            finished=self._job_ended,
        )
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

    def _job_ended(self, job: IndexJob) -> None:
        self.metrics.job(job)
        self.log.add(
            {
                "time": timestamp(),
                "job": job.id,
                "kind": job.kind,
                "state": job.state,
                "seconds": job.seconds,
                "documents": len(job.keys),
                "problem": job.problem,
            }
        )

    def note_ended(self, exchange: AnswerExchange) -> None:
        """Note a request that has ended."""
        self.metrics.request(exchange)
        if is_logged(exchange):
            self.log.add(entry_of(exchange))
        self.tracing.request(exchange)
        self.wandb.request(exchange)
