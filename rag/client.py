"""The model server through the openai client: what it serves, and a stream of text."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, cast

from rag.config import AnswerConfig
from rag.errors import ServerUnavailable
from rag.prompt import Message

if TYPE_CHECKING:
    from openai import OpenAI

_DEFAULT_WINDOW = 2048
"""Tokens assumed where a server does not say what it takes."""


@dataclass(frozen=True)
class ServedModel:
    """What answers, and how many tokens of prompt and answer it takes together."""

    name: str
    window_tokens: int


@dataclass
class StreamFacts:
    """What is known once a stream has ended; token counts are the server's, None when it gave none."""

    ttft_s: float | None = None
    seconds: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str | None = None


class PromptTooLong(ServerUnavailable):
    """The server refused the prompt for its length."""


class ModelServer:
    """One OpenAI-compatible server. Nothing is sent before the first question."""

    def __init__(self, config: AnswerConfig) -> None:
        """Remember where it is."""
        self._config = config
        self._client: OpenAI | None = None
        self._model: ServedModel | None = None

    @property
    def client(self) -> OpenAI:
        """The openai client, made when first needed (its import takes a second)."""
        if self._client is None:
            import httpx
            from openai import OpenAI

            timeout = httpx.Timeout(
                connect=self._config.connect_timeout_s,
                read=self._config.read_timeout_s,
                write=self._config.connect_timeout_s,
                pool=self._config.connect_timeout_s,
            )
            self._client = OpenAI(
                base_url=self._config.base_url, api_key=self._config.api_key, timeout=timeout, max_retries=2
            )
        return self._client

    def describe(self) -> ServedModel:
        """Ask /v1/models for the model's name and window.

        Raises:
            ServerUnavailable: it does not answer, or serves no model of that name.
        """
        if self._model is None:
            try:
                # A server that is up lists its models at once; only generating takes long.
                listed = list(self.client.with_options(timeout=self._config.connect_timeout_s).models.list())
            except _failures() as error:
                self._fail(error)
            wanted = self._config.model
            found = [model for model in listed if not wanted or model.id == wanted]
            if not found:
                names = ", ".join(model.id for model in listed) or "none"
                raise ServerUnavailable(
                    f"{self._config.base_url} serves no model {wanted}".rstrip(), mend=f"It serves: {names}"
                )
            window = cast(Any, found[0]).model_dump().get("max_model_len")
            self._model = ServedModel(found[0].id, window if isinstance(window, int) else _DEFAULT_WINDOW)
        return self._model

    def stream(self, messages: tuple[Message, ...], facts: StreamFacts) -> Iterator[str]:
        """Yield pieces of the answer as they come; `facts` are filled meanwhile. Closing it cancels upstream.

        Raises:
            PromptTooLong: the prompt does not fit into the model's window.
            ServerUnavailable: the server refused, fell silent, or broke off.
        """
        model = self.describe()
        started = time.perf_counter()
        try:
            response = self.client.chat.completions.create(
                model=model.name,
                messages=cast(Any, list(messages)),
                max_tokens=self._config.max_tokens,
                temperature=self._config.temperature,
                stream=True,
                stream_options={"include_usage": True},
            )
            with response:
                for chunk in response:
                    if chunk.usage is not None:
                        facts.prompt_tokens = chunk.usage.prompt_tokens
                        facts.completion_tokens = chunk.usage.completion_tokens
                    for choice in chunk.choices[:1]:
                        facts.finish_reason = choice.finish_reason or facts.finish_reason
                        if choice.delta.content:
                            if facts.ttft_s is None:
                                facts.ttft_s = time.perf_counter() - started
                            yield choice.delta.content
        except _failures() as error:
            self._fail(error)
        facts.seconds = time.perf_counter() - started
        if facts.finish_reason is None:
            raise ServerUnavailable(
                f"{self._config.base_url} broke off in the middle of the answer",
                mend="Look at its log (make logs) and ask again",
            )

    def _fail(self, error: Exception) -> NoReturn:
        import openai

        url = self._config.base_url
        if isinstance(error, openai.APITimeoutError):
            raise ServerUnavailable(
                f"{url} did not answer in time", mend="Look at its load (make status), or wait and ask again"
            ) from error
        if isinstance(error, openai.APIStatusError):
            detail = _detail(error)
            if error.status_code == 400 and ("context length" in detail or "max_model_len" in detail):
                raise PromptTooLong(f"{url} refused the prompt: {detail}") from error
            mend = {
                401: "Give the key: --api-key or OPENAI_API_KEY",
                403: "Give the key: --api-key or OPENAI_API_KEY",
                404: "Check that --base-url ends in /v1 and the model's name is right",
                429: "It is overloaded: wait and ask again",
                503: "It is overloaded or starting: wait and ask again",
            }.get(error.status_code, "Look at its log (make logs)")
            raise ServerUnavailable(
                f"{url} refused with status {error.status_code}: {detail}", mend=mend
            ) from error
        if isinstance(error, openai.APIConnectionError):
            raise ServerUnavailable(
                f"nothing answers at {url}", mend="Start the server (make up), or name another: --base-url"
            ) from error
        raise ServerUnavailable(
            f"{url} broke off in the middle of the answer ({type(error).__name__})",
            mend="Look at its log (make logs) and ask again",
        ) from error


def _failures() -> tuple[type[Exception], ...]:
    """Return everything the client raises; a cut or garbled stream comes as httpx's and json's own errors."""
    import httpx
    import openai

    return (openai.OpenAIError, httpx.HTTPError, ValueError)


def _detail(error: Any) -> str:
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    return str(message or error.message).split("\n")[0][:300]
