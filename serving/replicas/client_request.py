"""One request of a client, and what its head must be like before anybody looks at it. Pure."""

from __future__ import annotations

from urllib.parse import unquote

import httptools

from quantserve.core.http.refusal import Refusal, body_too_large
from quantserve.serving.guard.request.limits import RequestLimits
from quantserve.serving.replicas.upstream import HeaderList

SHORT_BYTES = 65_536
"""Of a next request while one is answered, and of a body that is thrown away."""
_MOST_HEADERS = 128
_CONTINUE = b"100-continue"


class ClientRequest:
    """What a client asks."""

    def __init__(self) -> None:
        """Nothing is known of it yet."""
        self.method = self.path = self.version = ""
        self.target = b""
        """As it goes on: path and query, not decoded."""
        self.raw_headers: HeaderList = []
        """Names in small letters."""
        self.headers: dict[bytes, bytes] = {}
        """Of two equal ones the first."""
        self.keep_alive = True
        self.endpoint = ""
        """Set by the app, as the next is."""
        self.most_body_bytes = 0
        """A body where this is 0 is thrown away."""
        self.pieces: list[bytes] = []
        self.size = 0
        self.body = b""
        self.refusal: Refusal | None = None


def require_sound(request: ClientRequest, limits: RequestLimits) -> None:
    """Find out what is asked for.

    Raises:
        Refusal: the head is too large, or no HTTP.
    """
    target, raw = request.target, request.raw_headers
    if len(target) + sum([len(name) + len(value) + 4 for name, value in raw]) > limits.max_header_bytes:
        raise head_too_large(limits)
    hosts = int(b"host" in request.headers)
    if len(raw) > len(request.headers):
        hosts = sum(name == b"host" for name, _ in raw)
    if hosts > 1 or (not hosts and request.version != "1.0"):
        raise Refusal(400, "invalid_http", f"the request names {hosts} hosts", close=True)
    if len(raw) > _MOST_HEADERS:
        raise Refusal(400, "invalid_http", f"more than {_MOST_HEADERS} headers", close=True)
    if not target.startswith(b"/") and target != b"*" and request.method != "CONNECT":
        url = httptools.parse_url(target)  # its error is the parser's, too
        target = (url.path or b"/") + (b"?" + url.query if url.query else b"")
    if not target.isascii():
        raise Refusal(400, "invalid_http", "the address is not ASCII", close=True)
    request.target = target.partition(b"#")[0]
    path = request.target.partition(b"?")[0].decode()
    request.path = unquote(path) if "%" in path else path


def require_acceptable_body(request: ClientRequest) -> None:
    """Refuse by what the head says of a body.

    Raises:
        Refusal: 413 too long, 417 it waits for something unknown (RFC 9110 section 10.1.1).
    """
    if request.headers.get(b"expect", _CONTINUE).lower() != _CONTINUE:
        raise Refusal(417, "unknown_expectation", "Expect can be 100-continue", close=True)
    if request.most_body_bytes and int(request.headers.get(b"content-length", 0)) > request.most_body_bytes:
        raise body_too_large(request.most_body_bytes)


def is_short(request: ClientRequest) -> bool:
    """Whether a body comes without being asked for and is soon over."""
    headers = request.headers
    if b"transfer-encoding" in headers or b"expect" in headers:
        return False
    return int(headers.get(b"content-length", 0)) <= SHORT_BYTES


def head_too_large(limits: RequestLimits) -> Refusal:
    """Return the refusal of a long head."""
    message = f"the headers are longer than {limits.max_header_bytes} bytes"
    return Refusal(431, "headers_too_large", message, close=True)
