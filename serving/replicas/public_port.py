"""The public port's HTTP: what arrives goes on as it came, and what is no HTTP gets OpenAI's 4xx, never 500.

Bodies are not decompressed here: their encoding is between the client and the guard, which bounds it.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable

from aiohttp import http_exceptions, web
from aiohttp.http import RawRequestMessage

from quantserve.serving.guard.refusal import Refusal
from quantserve.serving.ports import BACKLOG, listen_on

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
_UNREADABLE = (http_exceptions.HttpProcessingError, web.RequestPayloadError)


def refused(refusal: Refusal) -> web.Response:
    """Return a refusal as aiohttp sends it."""
    headers = {name.decode(): value.decode() for name, value in refusal.headers()}
    response = web.Response(status=refusal.status, body=refusal.body(), headers=headers)
    if refusal.close:
        response.force_close()
    return response


def unreadable(error: BaseException) -> Refusal:
    """Return the refusal of a request that broke HTTP's own rules; nothing of what it held is repeated."""
    if isinstance(error, http_exceptions.LineTooLong):
        message = "a line of the request or of its headers is too long"
        return Refusal(431, "headers_too_large", message, close=True)
    return Refusal(400, "malformed_request", "the request is not valid HTTP", close=True)


class _Connection(web.RequestHandler):
    """One client's connection."""

    def data_received(self, data: bytes) -> None:
        """Tell a handler at once that the body it reads cannot come to its end.

        aiohttp 3.14 queues the error behind the request whose body broke, which waits for the rest till its
        time is over.
        """
        super().data_received(data)
        if not self._messages or isinstance(self._messages[-1][0], RawRequestMessage):
            return
        broken = web.RequestPayloadError("no more of the body can be read")
        waiting = [payload for _, payload in self._messages]
        if self._current_request is not None:
            waiting.append(self._current_request.content)
        for payload in waiting:
            if not payload.is_eof():
                payload.set_exception(broken)
                payload.feed_eof()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what could not be read, or what our own handler failed at; the connection ends."""
        if request.writer.output_size > 0 or isinstance(exc, ConnectionError):
            raise ConnectionError("the client is gone, or its answer has begun: no error can be said")
        if isinstance(exc, _UNREADABLE):
            return refused(unreadable(exc))
        self.logger.error("a request failed", exc_info=exc)
        return refused(Refusal(500, "internal_error", "the server failed at this request", close=True))


class _Server(web.Server):
    """Makes our connections instead of aiohttp's."""

    def __call__(self) -> web.RequestHandler:
        """Return the protocol of a new connection."""
        return _Connection(self, loop=self._loop, **self._kwargs)


async def listen(
    handler: Handler, host: str, port: int, drain_s: float, tls: ssl.SSLContext | None = None
) -> web.ServerRunner:
    """Take requests on the public port; `cleanup` of what is returned lets running ones finish.

    Raises:
        PortTaken: something listens there, or the address is not this machine's.
    """
    server = _Server(handler, handler_cancellation=True, access_log=None, auto_decompress=False)
    runner = web.ServerRunner(server, shutdown_timeout=drain_s)
    await runner.setup()
    listener: socket.socket = listen_on(host, port)
    await web.SockSite(runner, listener, ssl_context=tls, backlog=BACKLOG).start()
    return runner
