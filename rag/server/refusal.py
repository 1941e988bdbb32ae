"""Every error a client reads, in OpenAI's shape."""

from __future__ import annotations

from typing import Any

from quantserve.core.errors import InputError, QuantserveError, UsageError
from quantserve.core.files import Locked
from quantserve.rag.errors import IndexMismatch, NoIndex, ServerUnavailable, StoreUnavailable
from quantserve.rag.text import well_formed

_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_RETRY_S = 2


class Refusal(Exception):
    """A request that is not answered; `code` is for programs, the message for people."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: int | None = None,
        extension: dict[str, Any] | None = None,
    ) -> None:
        """`extension` is what stands under `quantserve` beside the error."""
        super().__init__(message)
        self.status, self.code, self.param = status, code, param
        self.retry_after_s = retry_after_s
        self.extension = extension

    def body(self) -> dict[str, Any]:
        """Return the JSON body: {"error": {"message", "type", "param", "code"}}.

        What a client sent may stand in it, and be no text.
        """
        kind = _KINDS.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        param = None if self.param is None else well_formed(self.param)
        error = {"message": well_formed(str(self)), "type": kind, "param": param, "code": self.code}
        return {"error": error} | ({"quantserve": self.extension} if self.extension is not None else {})

    def headers(self) -> dict[str, str]:
        """Return the headers that go with it."""
        found: dict[str, str] = {}
        if self.retry_after_s is not None:
            found["Retry-After"] = str(self.retry_after_s)
        if self.status == 401:
            found["WWW-Authenticate"] = "Bearer"
        return found


def refusal_for(error: QuantserveError, extension: dict[str, Any] | None = None) -> Refusal:
    """Return what a client reads of an expected failure of ours.

    An absent index is 404, not 503: clients of OpenAI's kind would otherwise ask again and again.
    """
    if isinstance(error, NoIndex):
        message = "nothing has been indexed yet. Add a document first"
        return Refusal(404, "no_index", message, extension=extension)
    if isinstance(error, IndexMismatch):
        return Refusal(409, "index_mismatch", str(error), extension=extension)
    if isinstance(error, ServerUnavailable):
        return Refusal(503, "model_unavailable", str(error), retry_after_s=_RETRY_S, extension=extension)
    if isinstance(error, StoreUnavailable):
        return Refusal(503, "store_unavailable", str(error), retry_after_s=_RETRY_S, extension=extension)
    if isinstance(error, Locked):
        return Refusal(409, "locked", str(error), retry_after_s=_RETRY_S, extension=extension)
    if isinstance(error, InputError | UsageError):
        return Refusal(400, "invalid_value", str(error), extension=extension)
    return Refusal(500, "failed", str(error), extension=extension)
