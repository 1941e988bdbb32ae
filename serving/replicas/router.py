"""vllm-router as the supervisor sees it: its command line, its list of replicas, its paths.

It listens on loopback only: whoever reaches its port can add and remove workers (/add_worker, …), and it has
no key for that. It sees tickets, never requests or keys; see serving.replicas.picking.
"""

from __future__ import annotations

import sys
from urllib.parse import quote

import aiohttp

from quantserve.serving.config import LOOPBACK
from quantserve.serving.errors import ServingError
from quantserve.serving.replicas.config import RouterOptions

_ADMIN_TIMEOUT = aiohttp.ClientTimeout(total=10)


def router_argv(options: RouterOptions, port: int, metrics_port: int, parent: int) -> list[str]:
    """Return the command line. It starts with no workers, for it waits minutes for one that is away."""
    words = [sys.executable, "-m", "quantserve.serving.replicas.router_process", str(parent)]
    values = {
        "--host": LOOPBACK,
        "--port": port,
        "--policy": options.policy,
        "--prometheus-host": LOOPBACK,
        "--prometheus-port": metrics_port,
        "--worker-startup-check-interval": 1,
        "--retry-max-retries": options.retries,
        "--cb-failure-threshold": options.breaker_failures,
        "--cb-success-threshold": 1,
        "--cb-timeout-duration-secs": options.breaker_open_s,
        "--health-check-interval-secs": options.health_interval_s,
        "--health-success-threshold": 1,
        "--balance-abs-threshold": options.imbalance,
        "--request-timeout-secs": options.request_timeout_s,
        "--log-level": "warning",
        "--cors-allowed-origins": "http://localhost",
    }
    for name, value in values.items():
        words += [name, str(value)]
    return words


class RouterClient:
    """The router's list of replicas."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        """`url` is the router's root."""
        self._session = session
        self.url = url

    async def alive(self) -> bool:
        """Whether it answers."""
        try:
            async with self._session.get(f"{self.url}/liveness", timeout=_ADMIN_TIMEOUT) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def workers(self) -> set[str]:
        """Return the replicas it has.

        Raises:
            ServingError: it did not answer.
        """
        try:
            async with self._session.get(f"{self.url}/list_workers", timeout=_ADMIN_TIMEOUT) as response:
                return set((await response.json(content_type=None))["urls"])
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            raise ServingError(f"the router did not answer: {type(error).__name__}") from error

    async def add(self, worker: str) -> None:
        """Have it send requests to a replica that answers /health; one it has already is fine.

        Raises:
            ServingError: it refused.
        """
        status, text = await self._ask("add_worker", worker)
        if status != 200 and "already exists" not in text:
            raise ServingError(f"the router did not take {worker}: {text[:200]}")

    async def remove(self, worker: str) -> None:
        """Have it send nothing more; what runs goes on. One it does not have is fine.

        Raises:
            ServingError: it did not answer.
        """
        await self._ask("remove_worker", worker)

    async def _ask(self, path: str, worker: str) -> tuple[int, str]:
        address = f"{self.url}/{path}?url={quote(worker, safe='')}"
        try:
            async with self._session.post(address, timeout=_ADMIN_TIMEOUT) as response:
                return response.status, await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ServingError(f"the router did not answer: {type(error).__name__}") from error
