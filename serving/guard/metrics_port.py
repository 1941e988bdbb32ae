"""The metrics on a port of their own, for a collector without a key; on loopback by its names only."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from quantserve.core.origin import WHY, foreign, is_loopback

_PLAIN = ("Content-Type", "text/plain; charset=utf-8")


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """A collector asks every few seconds; nobody reads that."""


def serve_metrics(host: str, port: int) -> None:
    """Answer in a thread. On loopback only the machine's own names are answered, against DNS rebinding."""
    metrics, local = make_wsgi_app(), is_loopback(host)

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        why = foreign(environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")) if local else None
        if why is not None:
            start("403 Forbidden", [_PLAIN])
            return [WHY[why].encode()]
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            start("405 Method Not Allowed", [_PLAIN, ("Allow", "GET, HEAD")])
            return [b"GET or HEAD"]
        answer: Iterable[bytes] = metrics(environ, start)
        return answer

    server = make_server(host, port, application, _Server, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
