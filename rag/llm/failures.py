"""What the openai client raises, as one clear line that says the mend."""

from __future__ import annotations

from typing import Any

from quantserve.rag.errors import PromptTooLong, ServerUnavailable

_LONGEST_DETAIL = 300
_MENDS = {
    401: "Give the key: --api-key or OPENAI_API_KEY",
    403: "Give the key: --api-key or OPENAI_API_KEY",
    404: "Check that --base-url ends in /v1 and the model's name is right",
    429: "It is overloaded: wait and ask again",
    503: "It is overloaded or starting: wait and ask again",
}


def failures() -> tuple[type[Exception], ...]:
    """Return everything the client raises; a cut or garbled stream comes as httpx's and json's own errors."""
    import httpx
    import openai

    return (openai.OpenAIError, httpx.HTTPError, ValueError)


def unavailable(error: Exception, url: str) -> ServerUnavailable:
    """Return our error for the client's."""
    import openai

    if isinstance(error, openai.APITimeoutError):
        return ServerUnavailable(
            f"{url} did not answer in time", mend="Look at its load (make status), or wait and ask again"
        )
    if isinstance(error, openai.APIStatusError):
        detail = detail_of(error)
        if error.status_code == 400 and ("context length" in detail or "max_model_len" in detail):
            return PromptTooLong(f"{url} refused the prompt: {detail}")
        mend = _MENDS.get(error.status_code, "Look at its log (make logs)")
        return ServerUnavailable(f"{url} refused with status {error.status_code}: {detail}", mend=mend)
    if isinstance(error, openai.APIConnectionError):
        return ServerUnavailable(
            f"nothing answers at {url}", mend="Start the server (make up), or name another: --base-url"
        )
    return broke_off(url, f" ({type(error).__name__})")


def broke_off(url: str, how: str = "") -> ServerUnavailable:
    """Return the error of a stream that ended before the answer did."""
    return ServerUnavailable(
        f"{url} broke off in the middle of the answer{how}", mend="Look at its log (make logs) and ask again"
    )


def detail_of(error: Any) -> str:
    """Return the first line of what the server said."""
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    return str(message or error.message).split("\n")[0][:_LONGEST_DETAIL]
