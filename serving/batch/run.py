"""Ask a server the lines of a file, some at once, and write each answer as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantserve.core.errors import InputError
from quantserve.serving.batch.lines import BadLine, Request, error_line, read_request, response_line
from quantserve.serving.batch.output import Output, open_output
from quantserve.serving.errors import ServingError
from quantserve.serving.tls import client_context

if TYPE_CHECKING:
    import httpx
    import openai  # takes a second to import; the other commands need not wait for it


@dataclass(frozen=True)
class BatchOptions:
    """How a batch is asked. Times in seconds."""

    concurrency: int = 32
    retries: int = 6
    """Of a request that was refused for now (429, 503), failed in the server (5xx) or lost its connection."""
    timeout_s: float = 600.0


@dataclass
class BatchResult:
    """How many lines ended how."""

    answered: int = 0
    refused: int = 0
    """Answered with a status of 400 or more."""
    bad_lines: int = 0
    skipped: int = 0
    """Finished by an earlier run."""

    @property
    def lines(self) -> int:
        """All of them."""
        return self.answered + self.refused + self.bad_lines + self.skipped


def count_lines(path: Path) -> int:
    """Return the lines of the input that hold something.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return sum(1 for line in stream if line.strip())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", mend="Give a JSON-lines file") from error


def run_batch(
    source: Path,
    target: Path,
    base_url: str,
    api_key: str,
    options: BatchOptions,
    advance: Callable[[], None] = lambda: None,
    certificate: str | None = None,
) -> BatchResult:
    """Answer `source` into `target`; `advance` is called after each line.

    `certificate` is the only one that is trusted, None what the system trusts.

    Raises:
        InputError: a file cannot be read or written.
        ServingError: the server is gone; what was answered is in the output.
    """
    with open_output(target) as output:
        batch = _Batch(source, output, options, advance, certificate)
        return asyncio.run(batch.run(base_url, api_key))


class _Batch:
    def __init__(
        self,
        source: Path,
        output: Output,
        options: BatchOptions,
        advance: Callable[[], None],
        certificate: str | None,
    ) -> None:
        self._certificate = certificate
        self._output = output
        self._options = options
        self._advance = advance
        self._result = BatchResult()
        self._todo = self._requests(source)

    def _requests(self, source: Path) -> Iterator[Request]:
        """Yield what is to be asked, as it is needed; bad and finished lines are dealt with here."""
        seen: set[str] = set()
        with source.open("rb") as stream:
            for number, raw in enumerate(stream, 1):
                if not raw.strip():
                    continue
                try:
                    request = read_request(number, raw.decode("utf-8", errors="replace"))
                    if request.custom_id in seen:
                        message = f"line {number}: custom_id {request.custom_id!r} stands twice"
                        raise BadLine(request.custom_id, "duplicate_custom_id", message)
                except BadLine as bad:
                    self._output.add(error_line(bad, number))
                    self._result.bad_lines += 1
                    self._advance()
                    continue
                seen.add(request.custom_id)
                if request.custom_id in self._output.finished:
                    self._result.skipped += 1
                    self._advance()
                    continue
                yield request

    async def run(self, base_url: str, api_key: str) -> BatchResult:
        """Ask everything with as many workers as may run at once."""
        import httpx
        import openai

        limit = self._options.concurrency
        async with (
            httpx.AsyncClient(
                trust_env=False,  # a proxy must not stand between us and this machine
                verify=client_context(self._certificate),
                limits=httpx.Limits(max_connections=limit),
                timeout=httpx.Timeout(self._options.timeout_s, connect=10.0),
            ) as transport,
            openai.AsyncOpenAI(
                base_url=base_url.rstrip("/").removesuffix("/v1"),
                api_key=api_key,
                max_retries=self._options.retries,
                http_client=transport,
            ) as client,
        ):
            workers = [asyncio.ensure_future(self._work(client)) for _ in range(limit)]
            try:
                await asyncio.gather(*workers)
            except openai.APIConnectionError as error:
                raise ServingError(
                    f"the server at {base_url} is gone: {error.__cause__ or error}",
                    mend="What was answered is kept: start the server and run this again",
                ) from error
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        return self._result

    async def _work(self, client: openai.AsyncOpenAI) -> None:
        for request in self._todo:  # shared by all workers; each takes the next
            response = await _ask(client, request)
            request_id = response.headers.get("x-request-id", "")
            self._output.add(
                response_line(request.custom_id, response.status_code, request_id, _body(response))
            )
            if response.status_code < 400:
                self._result.answered += 1
            else:
                self._result.refused += 1
            self._advance()


async def _ask(client: openai.AsyncOpenAI, request: Request) -> httpx.Response:
    import httpx
    import openai

    try:
        return await client.post(request.url, cast_to=httpx.Response, body=request.body)
    except openai.APIStatusError as error:
        return error.response


def _body(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return {"error": {"message": response.text}}
