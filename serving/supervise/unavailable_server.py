"""The unavailable server: answers on the address while no engine does, 503 with Retry-After, and /metrics.

It runs in a thread of the launcher, on the very socket the engines inherit, so nothing that comes in waits
for an engine that is not there, and every connection it takes is closed after one answer.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from quantserve.core.http.exchange import HttpExchange, Receive, Scope, Send
from quantserve.core.http.origin import foreign_headers
from quantserve.serving.guard.launcher_line import Facts, unavailable
from quantserve.serving.guard.metrics import FactsCollector
from quantserve.serving.guard.settings import GuardSettings
from quantserve.serving.tls import Tls

_BODY_LIMIT_BYTES = 32 << 20
_BODY_TIMEOUT_S = 2.0
_SLOW_CLIENT_S = 1
_ARRIVING_S = 0.1


class _LingeringServer(uvicorn.Server):
    """Answers also the connections whose request had not arrived yet when it was told to stop."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop to listen, give requests on their way a moment, then close what is idle."""
        for server in self.servers:
            server.close()
        await asyncio.sleep(_ARRIVING_S)
        await super().shutdown(sockets)


class UnavailableServer:
    """Starts and stops answering; both may be asked for twice."""

    def __init__(
        self, listener: socket.socket, facts: Callable[[], Facts], settings: GuardSettings | None = None
    ) -> None:
        """`facts` says why there is no engine; the guard's settings whether /metrics are open."""
        self._listener = listener
        self._facts = facts
        self._settings = settings
        self._tls: Tls | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def know(self, settings: GuardSettings, tls: Tls | None = None) -> None:
        """Learn what is going to be served, once the plan says it; TLS is spoken from the next start on."""
        self._settings, self._tls = settings, tls

    def start(self) -> None:
        """Begin to take connections."""
        if self._thread is not None:
            return
        config = uvicorn.Config(
            self._answer,
            interface="asgi3",
            proxy_headers=False,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=_SLOW_CLIENT_S,
            **(self._tls.uvicorn() if self._tls is not None else {}),  # type: ignore[arg-type]
        )
        self._server = _LingeringServer(config)
        sockets = [self._listener.dup()]
        self._thread = threading.Thread(target=self._server.run, args=(sockets,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no more connections and return once those taken are answered."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()
        self._server = self._thread = None

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = HttpExchange(scope, receive, send)
        # A body left unread would have the kernel reset the connection before the answer is read.
        await exchange.drain(_BODY_LIMIT_BYTES, _BODY_TIMEOUT_S)
        settings = self._settings
        if settings is not None and settings.metrics_open and _asks_for_metrics(scope, settings):
            headers = [(b"content-type", CONTENT_TYPE_LATEST.encode()), (b"connection", b"close")]
            await exchange.answer(200, headers, self._metrics(settings))
        else:
            await exchange.refuse(unavailable(self._facts()))

    def _metrics(self, settings: GuardSettings) -> bytes:
        registry = CollectorRegistry()
        registry.register(FactsCollector(self._facts, settings.artifact))
        return generate_latest(registry)


def _asks_for_metrics(scope: Scope, settings: GuardSettings) -> bool:
    """Whether this machine asks for open metrics, as the guard decides it."""
    ours = foreign_headers(scope["headers"], settings.allowed_origins) is None
    return ours and scope["path"] == "/metrics" and scope["method"] in ("GET", "HEAD")
