"""A request that is not let through, and what its sender reads: OpenAI's error object, written in one way."""

from __future__ import annotations

import json
from typing import Any

_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
_SERVER_ERROR = 500
Headers = list[tuple[bytes, bytes]]


class Refusal(Exception):
    """One refused request; `code` is for programs: the metric's label and the log's word, too."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: int | None = None,
        close: bool = False,
        allow: str | None = None,
        extension: dict[str, Any] | None = None,
    ) -> None:
        """`close` ends the connection (its body was not read); `allow` lists methods for a 405.

        `extension` stands under `quantserve` beside the error.
        """
        super().__init__(message)
        self.status, self.code, self.param = status, code, param
        self.retry_after_s = retry_after_s
        self.close = close
        self.allow = allow
        self.extension = extension

    def body(self, *, anthropic: bool = False) -> bytes:
        """Return the JSON body: {"error": {"message", "type", "param", "code"}}.

        Anthropic's shape has the same error beside {"type": "error"}. What a client sent may stand in it, and
        be no text.
        """
        kind = _KINDS.get(
            self.status, "server_error" if self.status >= _SERVER_ERROR else "invalid_request_error"
        )
        error = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        whole: dict[str, Any] = {"type": "error", "error": error} if anthropic else {"error": error}
        if self.extension is not None:
            whole["quantserve"] = self.extension
        text = json.dumps(whole, ensure_ascii=False)
        try:
            return text.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, legal in JSON as an escape
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()

    def headers(self) -> Headers:
        """Return the response's headers, without those that every response has."""
        found = [(b"content-type", b"application/json")]
        if self.retry_after_s is not None:
            found.append((b"retry-after", str(self.retry_after_s).encode()))
        if self.status == 401:
            found.append((b"www-authenticate", b"Bearer"))
        if self.allow is not None:
            found.append((b"allow", self.allow.encode()))
        if self.close:
            found.append((b"connection", b"close"))
        return found


def bad_value(message: str, param: str | None = None) -> Refusal:
    """Return the refusal of a request whose content is wrong."""
    return Refusal(400, "invalid_value", message, param=param)


def too_large(message: str, param: str | None = None) -> Refusal:
    """Return the refusal of a request that asks for more than the limits allow."""
    return Refusal(400, "limit_exceeded", message, param=param)


def body_too_large(limit_bytes: int) -> Refusal:
    """Return the refusal of a long body; the rest of it is not read, so the connection ends."""
    return Refusal(413, "body_too_large", f"the body is larger than {limit_bytes:,} bytes", close=True)


def body_too_slow(received_bytes: int) -> Refusal:
    """Return the refusal of a body that does not come; the connection ends."""
    message = f"the body did not come in time; {received_bytes:,} bytes of it came"
    return Refusal(408, "body_timeout", message, close=True)
