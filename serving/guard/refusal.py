"""A request that is not let through, and what its sender reads: OpenAI's error object."""

from __future__ import annotations

import json

from quantserve.serving.supervise.facts import Facts


class Refusal(Exception):
    """One refused request; `reason` is the label of the metric and the audit line."""

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: int | None = None,
        close: bool = False,
        allow: str | None = None,
    ) -> None:
        """`close` ends the connection (its body was not read); `allow` lists methods for a 405."""
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.param = param
        self.retry_after_s = retry_after_s
        self.close = close
        self.allow = allow

    def body(self, *, anthropic: bool = False) -> bytes:
        """Return the JSON body: {"error": {"message", "type", "param", "code"}}.

        Anthropic's shape has the same error beside {"type": "error"}.
        """
        kinds = {
            401: "authentication_error",
            403: "permission_error",
            429: "rate_limit_error",
        }
        error = {
            "message": str(self),
            "type": kinds.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error"),
            "param": self.param,
            "code": self.reason,
        }
        whole = {"type": "error", "error": error} if anthropic else {"error": error}
        return json.dumps(whole, ensure_ascii=False).encode("utf-8", errors="replace")

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the response's headers, without the request id."""
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


_WHY = {
    "starting": "the server is starting",
    "restarting": "the engine has died and is being started again",
    "stopping": "the server is stopping",
}


def unavailable(facts: Facts) -> Refusal:
    """Return the 503 of a server that takes no requests now; it says when to ask again."""
    phase = "restarting" if facts.phase == "serving" else facts.phase
    return Refusal(503, phase, _WHY[phase], retry_after_s=facts.retry_after_s, close=True)
