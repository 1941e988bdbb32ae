"""Bodies on their way: each within a time, and all of them together within a number.

A body that never comes holds nothing but its connection: no place among the questions is taken before it is
whole.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import Message, Receive

from quantserve.rag.server.config import Bounds
from quantserve.rag.server.refusal import Refusal

_DRAINED_BYTES = 1 << 20
_DRAINED_S = 2.0


class ClientLeft(Exception):
    """The connection ended before the body was whole, or while nobody took the answer."""


class Bodies:
    """All bodies that are being read; used by the event loop alone."""

    def __init__(self, bounds: Bounds) -> None:
        """Nothing is on its way."""
        self._bounds = bounds
        self._waiting: dict[asyncio.Timeout, str] = {}
        """In the order they began, with the client each belongs to."""

    @property
    def waiting(self) -> int:
        """Bodies on their way."""
        return len(self._waiting)

    def of(self, receive: Receive, client: str) -> Body:
        """Return the body of a request."""
        return Body(self, self._bounds, receive, client)

    @contextmanager
    def on_its_way(self, timer: asyncio.Timeout, client: str) -> Iterator[None]:
        """Count a body; where they are too many, the oldest of whoever has most of them runs out of time."""
        if len(self._waiting) >= self._bounds.max_unread_bodies:
            counts: dict[str, int] = {}
            for owner in self._waiting.values():
                counts[owner] = counts.get(owner, 0) + 1
            most = max(counts, key=lambda owner: counts[owner])
            oldest = next(waiting for waiting, owner in self._waiting.items() if owner == most)
            del self._waiting[oldest]
            oldest.reschedule(asyncio.get_running_loop().time())
        self._waiting[timer] = client
        try:
            yield
        finally:
            self._waiting.pop(timer, None)


class Body:
    """One request's body."""

    def __init__(self, bodies: Bodies, bounds: Bounds, receive: Receive, client: str) -> None:
        """Nothing is read yet."""
        self._bodies, self._bounds, self._receive = bodies, bounds, receive
        self.client = client
        """Whose it is; the gate says so when it knows the key."""
        self._began = time.monotonic()
        self._received = 0
        self.is_whole = False

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        self._received += len(message.get("body", b""))
        self.is_whole = not message.get("more_body", False)
        return message

    async def read(self, most_bytes: int) -> Receive:
        """Read a small body whole and return what hands it on.

        Raises:
            Refusal: 413, it is too large; 408, it does not come in time, or too many others wait.
            ClientLeft: the connection ended.
        """
        body = bytearray()
        try:
            async with asyncio.timeout(self._bounds.body_timeout_s) as timer:
                with self._bodies.on_its_way(timer, self.client):
                    while not self.is_whole:
                        body += (await self._next()).get("body", b"")
                        if len(body) > most_bytes:
                            raise too_large(most_bytes)
        except TimeoutError as error:
            raise self._too_slow() from error
        replayed = False

        async def again() -> Message:
            nonlocal replayed
            if not replayed:
                replayed = True
                return {"type": "http.request", "body": bytes(body), "more_body": False}
            return await self._receive()

        return again

    async def piece(self) -> Message:
        """Return the next piece of a large body, an upload's, or that the connection ended.

        Raises:
            Refusal: 408, it does not come in time, or all of it too slowly.
        """
        if self.is_whole:
            return await self._receive()
        try:
            async with asyncio.timeout(self._bounds.body_timeout_s):
                message = await self._next()
        except TimeoutError as error:
            raise self._too_slow() from error
        except ClientLeft:
            return {"type": "http.disconnect"}
        late_s = time.monotonic() - self._began - self._bounds.body_timeout_s
        if not self.is_whole and late_s > 0 and self._received < late_s * self._bounds.upload_least_bytes_s:
            raise self._too_slow()
        return message

    def _too_slow(self) -> Refusal:
        return Refusal(
            408,
            "body_timeout",
            f"the body did not arrive in time ({self._received:,} bytes of it came)",
        )

    async def drain(self) -> None:
        """Take what is still coming of a refused body, within bounds.

        A connection that is closed with bytes unread is reset, and the client would lose the refusal.
        """
        taken = self._received + _DRAINED_BYTES
        try:
            async with asyncio.timeout(_DRAINED_S):
                while not self.is_whole and self._received < taken:
                    await self._next()
        except (TimeoutError, ClientLeft):
            return


def too_large(most_bytes: int) -> Refusal:
    """Return the refusal of a body that is larger than it may be."""
    return Refusal(413, "body_too_large", f"the body is larger than {most_bytes:,} bytes")
