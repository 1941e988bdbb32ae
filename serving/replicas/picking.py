"""Have vllm-router choose a replica for a request without handing it the request.

The router reads bodies into its own types and writes them anew, loses fields on the way, takes no uploads,
drops headers on paths it does not know, and lets a broken stream break. So it gets a ticket instead:

    front ── ticket ──► router ── ticket ──► window of the replica it chose (in this process)
    front ══ the request itself ══════════► that replica

The window keeps the ticket until the request is over. So the router counts running requests rightly, and
when the replica could not be reached the window says 503: the router's circuit breaker learns of it, and its
retry brings the ticket to another window. `Picker.pick` yields these offers one by one.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from quantserve.serving.config import LOOPBACK
from quantserve.serving.ports import url_of
from quantserve.serving.replicas.affinity import tokens_of

_TICKET = "X-Request-ID"
_SESSION = "X-Session-ID"
_HEALTH_TIMEOUT = aiohttp.ClientTimeout(total=5)


@dataclass
class Offer:
    """One replica, offered for one ticket. `verdict` is the status the router is told at the end."""

    replica: str
    verdict: asyncio.Future[int]

    def settle(self, status: int) -> None:
        """Tell the router; the first word counts."""
        if not self.verdict.done():
            self.verdict.set_result(status)


@dataclass
class Window:
    """Where the router believes a replica to be."""

    replica: str
    root: str
    """The replica's own address."""
    url: str = ""
    runner: web.AppRunner | None = None

    async def close(self) -> None:
        """Stop listening; what is held is let go."""
        if self.runner is not None:
            await self.runner.cleanup()


@dataclass
class Picker:
    """Tickets on their way, and the windows they come back by."""

    session: aiohttp.ClientSession
    timeout_s: float
    """Time the router has for a choice."""
    router_url: str = ""
    """Empty while no router answers."""
    _offers: dict[str, asyncio.Queue[Offer | None]] = field(default_factory=dict)

    async def open_window(self, replica: str, root: str) -> Window:
        """Listen on a spare port of loopback in the place of a replica."""
        window = Window(replica, root)

        async def handle(request: web.Request) -> web.Response:
            return await self._handle(window, request)

        app = web.Application(client_max_size=1 << 20)
        app.router.add_route("*", "/{path:.*}", handle)
        window.runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await window.runner.setup()
        listener = socket.create_server((LOOPBACK, 0), backlog=1024)
        window.url = url_of(LOOPBACK, listener.getsockname()[1])
        await web.SockSite(window.runner, listener).start()
        return window

    async def pick(self, model: str, beginning: str, session: str | None) -> AsyncGenerator[Offer, None]:
        """Yield the router's choices for one request, until it has none or the caller has what it needs.

        An offer must be settled before the next one can come.
        """
        ticket = secrets.token_hex(16)
        queue: asyncio.Queue[Offer | None] = asyncio.Queue()
        self._offers[ticket] = queue
        asking = asyncio.create_task(self._ask(ticket, model, beginning, session, queue))
        try:
            while (offer := await self._next(queue)) is not None:
                try:
                    yield offer
                finally:
                    offer.settle(200)
        finally:
            del self._offers[ticket]
            while not queue.empty():  # the router lost a window amid an answer and took the ticket to another
                if (left := queue.get_nowait()) is not None:
                    left.settle(200)
            asking.add_done_callback(_forget)

    async def _next(self, queue: asyncio.Queue[Offer | None]) -> Offer | None:
        try:
            return await asyncio.wait_for(queue.get(), self.timeout_s)
        except TimeoutError:  # a router that hangs is replaced by the supervisor
            return None

    async def _ask(
        self, ticket: str, model: str, beginning: str, session: str | None, queue: asyncio.Queue[Offer | None]
    ) -> None:
        headers = {_TICKET: ticket} | ({_SESSION: session} if session is not None else {})
        body = {"model": model, "prompt": beginning or " ", "max_tokens": 1}
        try:
            if self.router_url:
                async with self.session.post(
                    f"{self.router_url}/v1/completions", json=body, headers=headers
                ) as response:
                    await response.read()
        except aiohttp.ClientError:
            pass  # the router died: the front asks again, and an answer that has begun goes on without it
        finally:
            queue.put_nowait(None)

    async def _handle(self, window: Window, request: web.Request) -> web.Response:
        if request.path == "/health":
            return await self._health(window)
        if request.path == "/tokenize":
            # cache_aware asks every replica; the numbers need only begin alike where prompts begin alike.
            asked = await request.json()
            tokens = tokens_of(str(asked.get("prompt", "")))
            return web.json_response({"count": len(tokens), "max_model_len": 1 << 30, "tokens": tokens})
        queue = self._offers.get(request.headers.get(_TICKET, ""))
        if queue is None or request.path != "/v1/completions":
            return web.json_response({"error": {"message": "no such ticket"}}, status=404)
        offer = Offer(window.replica, asyncio.get_running_loop().create_future())
        queue.put_nowait(offer)
        return web.json_response({}, status=await offer.verdict)

    async def _health(self, window: Window) -> web.Response:
        try:
            async with self.session.get(f"{window.root}/health", timeout=_HEALTH_TIMEOUT) as response:
                return web.Response(status=response.status)
        except (aiohttp.ClientError, TimeoutError):
            return web.Response(status=503)


def _forget(task: asyncio.Task[None]) -> None:
    """Take an asking's result, so that one cancelled at the end is not complained of."""
    if not task.cancelled():
        task.exception()
