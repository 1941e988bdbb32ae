"""The model server through the openai client: what it serves, and a stream of text."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import pybreaker

from quantserve.rag.config import AnswerConfig, RetryConfig
from quantserve.rag.errors import Cancelled, ServerUnavailable
from quantserve.rag.llm.background import submit
from quantserve.rag.llm.cancel import Cancellation
from quantserve.rag.llm.failures import broke_off, failures, unavailable
from quantserve.rag.llm.retry import retrying
from quantserve.rag.llm.served import Message, ServedModel, StreamFacts, served_model
from quantserve.rag.llm.tokens import TokenCounter
from quantserve.rag.text import well_formed_pieces

if TYPE_CHECKING:
    import httpx
    from openai import AsyncOpenAI

_END = object()


class ModelServer:
    """One OpenAI-compatible server, for any number of threads. Nothing is sent before the first question."""

    def __init__(self, config: AnswerConfig) -> None:
        """Remember where it is."""
        self.config = config
        self._lock = threading.Lock()
        self._client: AsyncOpenAI | None = None
        self._model: ServedModel | None = None
        self._described = 0.0
        self._asking: Future[ServedModel] | None = None
        self.tokens = TokenCounter(self._post_beside)
        # Two, since a server may list its models and fail to generate: a success there says nothing here.
        self._listing, self._generating = _breaker(config.retry), _breaker(config.retry)

    @property
    def client(self) -> AsyncOpenAI:
        """The openai client, made when first needed (its import takes a second)."""
        with self._lock:
            if self._client is None:
                import httpx
                from openai import AsyncOpenAI, DefaultAsyncHttpxClient

                connect_s = self.config.connect_timeout_s
                self._client = AsyncOpenAI(
                    base_url=self.config.base_url,
                    api_key=self.config.api_key,
                    timeout=httpx.Timeout(
                        connect=connect_s,
                        read=self.config.read_timeout_s,
                        write=connect_s,
                        pool=self.config.read_timeout_s,
                    ),
                    max_retries=0,  # rag.llm.retry repeats, and obeys every Retry-After
                    http_client=DefaultAsyncHttpxClient(limits=_limits()),
                )
            return self._client

    def describe(self) -> ServedModel:
        """Ask /v1/models for the model's name and window; what it said is believed for `describe_ttl_s`.

        Raises:
            ServerUnavailable: it does not answer, or serves no model of that name.
        """
        client = self.client
        with self._lock:
            if self._model is not None and time.monotonic() - self._described < self.config.describe_ttl_s:
                return self._model
            asking = self._asking = self._asking or submit(self._describe(client))  # one asks for all
        try:
            model = asking.result()
            with self._lock:
                self._model, self._described = model, time.monotonic()
            return model
        finally:
            with self._lock:
                if self._asking is asking:
                    self._asking = None

    async def _describe(self, client: AsyncOpenAI) -> ServedModel:
        try:
            with self._listing.calling():
                # A server that is up lists its models at once; only generating takes long.
                brief = client.with_options(timeout=self.config.connect_timeout_s)
                async for attempt in retrying(self.config.retry):
                    with attempt:
                        listed = [model async for model in brief.models.list()]
        except pybreaker.CircuitBreakerError as error:
            raise self._left_alone() from error
        except failures() as error:
            raise unavailable(error, self.config.base_url) from error
        wanted = self.config.model
        found = [model for model in listed if not wanted or model.id == wanted]
        if not found:
            names = ", ".join(model.id for model in listed) or "none"
            raise ServerUnavailable(
                f"{self.config.base_url} serves no model {wanted}".rstrip(), mend=f"It serves: {names}"
            )
        return served_model(found[0].model_dump(), self.config.window_tokens)

    def stream(
        self,
        messages: Sequence[Message],
        facts: StreamFacts,
        cancellation: Cancellation | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        response_format: Mapping[str, Any] | None = None,
    ) -> Generator[str, None, None]:
        """Yield pieces of the answer as they come; `facts` are filled meanwhile.

        `max_tokens` and `temperature` replace the configured ones; `response_format` is OpenAI's.

        Closing the iterator, or `cancellation`, cancels upstream: the connection is closed.

        Raises:
            PromptTooLong: the prompt does not fit into the model's window.
            ServerUnavailable: the server refused, fell silent, or broke off.
            Cancelled: by `cancellation`.
        """
        cancellation = cancellation or Cancellation()
        cancellation.check()
        model = self.describe()
        pieces: queue.SimpleQueue[object] = queue.SimpleQueue()
        body = {
            "model": model.name,
            "messages": list(messages),
            "max_tokens": max_tokens or self.config.max_tokens,
            "temperature": self.config.temperature if temperature is None else temperature,
        }
        if response_format is not None:
            body["response_format"] = response_format
        future = submit(self._produce(self.client, body, facts, pieces))
        try:
            with cancellation.calling(lambda: pieces.put(Cancelled("the answer is no longer wanted"))):
                yield from well_formed_pieces(_until_end(pieces))
        finally:
            future.cancel()

    def complete(
        self,
        messages: Sequence[Message],
        max_tokens: int,
        cancellation: Cancellation | None = None,
        temperature: float | None = None,
        response_format: Mapping[str, Any] | None = None,
    ) -> str:
        """Return a whole answer; raises as `stream` does."""
        facts = StreamFacts()
        return "".join(self.stream(messages, facts, cancellation, max_tokens, temperature, response_format))

    async def _produce(
        self,
        client: AsyncOpenAI,
        body: dict[str, Any],
        facts: StreamFacts,
        pieces: queue.SimpleQueue[object],
    ) -> None:
        """Put the pieces into the queue, then the end or the error."""
        url = self.config.base_url
        try:
            with self._generating.calling():
                async with (
                    asyncio.timeout(self.config.total_timeout_s),
                    self._response(client, body, facts) as events,
                ):
                    async for piece in events:
                        pieces.put(piece)
                if facts.finish_reason is None:
                    raise broke_off(url)
            pieces.put(_END)
        except pybreaker.CircuitBreakerError:
            pieces.put(self._left_alone())
        except TimeoutError:
            pieces.put(
                ServerUnavailable(
                    f"{url} took longer than {self.config.total_timeout_s:.0f} s for one answer",
                    mend="Look at its load (make status), or ask for fewer tokens",
                )
            )
        except ServerUnavailable as error:
            pieces.put(error)
        except failures() as error:
            ours = unavailable(error, url)
            ours.__cause__ = error
            pieces.put(ours)

    @asynccontextmanager
    async def _response(
        self,
        client: AsyncOpenAI,
        body: dict[str, Any],
        facts: StreamFacts,
    ) -> AsyncIterator[AsyncIterator[str]]:
        """Send the request, again where that may help; yield its pieces. Leaving closes the connection."""
        started = time.perf_counter()

        def count() -> None:
            facts.retries += 1

        async for attempt in retrying(self.config.retry, count):
            with attempt:
                response = await client.chat.completions.create(
                    **body, stream=True, stream_options={"include_usage": True}
                )
        async with response:

            async def events() -> AsyncIterator[str]:
                async for chunk in response:
                    if chunk.usage is not None:
                        facts.prompt_tokens = chunk.usage.prompt_tokens
                        facts.completion_tokens = chunk.usage.completion_tokens
                    for choice in chunk.choices[:1]:
                        facts.finish_reason = choice.finish_reason or facts.finish_reason
                        if choice.delta.content:
                            if facts.ttft_s is None:
                                facts.ttft_s = time.perf_counter() - started
                            yield choice.delta.content
                facts.seconds = time.perf_counter() - started

            yield events()

    async def _post_beside(self, path: str, body: dict[str, Any]) -> Any:
        """POST to a path beside /v1 (vLLM's /tokenize), in the event loop; raises the client's own errors."""
        url = self.config.base_url.rstrip("/").removesuffix("/v1") + path
        brief = self.client.with_options(timeout=self.config.connect_timeout_s)
        return await brief.post(url, cast_to=object, body=body)

    def _left_alone(self) -> ServerUnavailable:
        return ServerUnavailable(
            f"{self.config.base_url} failed {self.config.retry.breaker_failures} times in a row and is left "
            f"alone for {self.config.retry.breaker_reset_s:.0f} s",
            mend="Look at its log (make logs)",
        )


def _until_end(pieces: queue.SimpleQueue[object]) -> Iterator[str]:
    """Yield the pieces that a queue is given; raise the error that it is given."""
    while (piece := pieces.get()) is not _END:
        if isinstance(piece, BaseException):
            raise piece
        yield cast(str, piece)


def _limits() -> httpx.Limits:
    """Return how many connections are kept, and for how long.

    Above `max_keepalive_connections` httpcore 1.0 closes idle connections that a request has just been given,
    so it is as high as the most there may be. uvicorn closes after 5 s of silence: leaving first spares a
    request on a connection that is about to go.
    """
    import httpx

    return httpx.Limits(max_connections=1000, max_keepalive_connections=1000, keepalive_expiry=4.0)


def _breaker(config: RetryConfig) -> pybreaker.CircuitBreaker:
    return pybreaker.CircuitBreaker(
        fail_max=config.breaker_failures,
        reset_timeout=config.breaker_reset_s,
        exclude=[_says_nothing],
        throw_new_error_on_trip=False,
    )


def _says_nothing(error: Any) -> bool:
    """Whether an error is none of the server's: we gave up, or it refused a request for what that is."""
    import openai

    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        return True
    return isinstance(error, openai.APIStatusError) and error.status_code < 500
