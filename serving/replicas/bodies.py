"""Read a request's body whole, since it may have to be sent again, within bounds of size, time and memory.

The guard's tighter bounds follow in the replica. These keep a crowd without keys, which the guard would
refuse before it reads a body, from filling the front's memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import HttpVersion11, web

from quantserve.serving.guard.exchange import body_too_large
from quantserve.serving.guard.paths import Endpoint
from quantserve.serving.guard.refusal import Refusal
from quantserve.serving.guard.settings import MIB, Limits

_LIMITS = Limits.model_validate({})
_MOST_JSON_BYTES = 32 * MIB
"""The most the guard's plan ever allows."""
_RETRY_AFTER_S = 2


class Held:
    """The bytes of all bodies in memory."""

    def __init__(self, most_bytes: int) -> None:
        """More than `most_bytes` are refused."""
        self.bytes = 0
        self.most_bytes = most_bytes

    @contextmanager
    def body(self) -> Iterator[Body]:
        """Give room for one body, and take it back at the end."""
        body = Body(self)
        try:
            yield body
        finally:
            self.bytes -= body.size


class Body:
    """One request's body, counted while it comes."""

    def __init__(self, held: Held) -> None:
        """Counts in `held`."""
        self._held = held
        self.size = 0

    async def read(self, request: web.BaseRequest, endpoint: Endpoint) -> bytes:
        """Read it.

        Raises:
            Refusal: 413 too long, 408 too slow, 417 unknown expectation, 429 too many bodies at once.
            web.RequestPayloadError, http_exceptions.HttpProcessingError: it is not whole, or no HTTP.
        """
        if endpoint.body == "none":
            return b""
        limit = _LIMITS.max_upload_bytes if endpoint.body == "upload" else _MOST_JSON_BYTES
        if (request.content_length or 0) > limit:
            raise body_too_large(limit)
        await _invite(request)
        pieces: list[bytes] = []
        try:
            async with asyncio.timeout(_LIMITS.body_timeout_s):
                async for piece in request.content.iter_any():
                    self._count(len(piece), limit)
                    pieces.append(piece)
        except TimeoutError as error:
            message = f"the body did not come within {_LIMITS.body_timeout_s:g} s"
            raise Refusal(408, "body_timeout", message, close=True) from error
        return b"".join(pieces)

    def _count(self, more: int, limit: int) -> None:
        self.size += more
        self._held.bytes += more
        if self.size > limit:
            raise body_too_large(limit)
        if self._held.bytes > self._held.most_bytes:
            message = "too many large requests at once"
            raise Refusal(429, "queue_full", message, retry_after_s=_RETRY_AFTER_S, close=True)


async def _invite(request: web.BaseRequest) -> None:
    """Have a client that asks first (Expect, RFC 9110 section 10.1.1) send its body.

    Raises:
        Refusal: 417, it expects something else.
    """
    expects = request.headers.get("Expect")
    if expects is None or request.version < HttpVersion11:
        return
    if expects.lower() != "100-continue":
        raise Refusal(417, "unknown_expectation", "Expect can be 100-continue", close=True)
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # the answer itself has not begun
