"""The public port: its listener, the connections taken, and their clock.

port = PublicPort(app, limits, most_held_bytes)
await port.open(host, 8000, tls)  …  await port.close(drain_s)
"""

from __future__ import annotations

import asyncio
import ssl
import time

from quantserve.serving.ports import BACKLOG, listen_on
from quantserve.serving.replicas.client_connection import ClientConnection, PortState

_ARRIVING_S = 0.1
"""Requests on their way when the port closes get so long to be here."""
_SWEEP_S = 0.25
_POLL_S = 0.02


class PublicPort(PortState):
    """Takes requests from `open` to `close`."""

    number = 0
    """The port listened on."""

    async def open(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Listen; port 0 picks a spare one.

        Raises:
            PortTaken: something listens there, or the address is not this machine's.
        """
        listener = listen_on(host, port)
        self.number = listener.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: ClientConnection(self), sock=listener, ssl=tls, backlog=BACKLOG
        )
        self._sweeping = asyncio.create_task(self._sweep())

    async def _sweep(self) -> None:
        """Look for connections whose time is over: one clock for all costs a request nothing."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = time.monotonic()
            for connection in list(self.connections):
                if connection.deadline is not None and connection.deadline <= now:
                    connection.late()

    async def close(self, drain_s: float) -> None:
        """Take no new connections, let what runs finish for `drain_s`, end."""
        self._server.close()
        await asyncio.sleep(_ARRIVING_S)
        self.closing = True
        for connection in list(self.connections):
            connection.close(at_once=False)
        end = time.monotonic() + drain_s
        while self.connections and time.monotonic() < end:
            await asyncio.sleep(_POLL_S)
        for connection in list(self.connections):
            connection.close(at_once=True)
        self._sweeping.cancel()
