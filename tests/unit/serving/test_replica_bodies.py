from __future__ import annotations

import asyncio
from typing import Any

import pytest

from quantserve.serving.guard.paths import PathTable
from quantserve.serving.guard.refusal import Refusal
from quantserve.serving.replicas.bodies import Held


class Request:
    """As much of aiohttp's as the reader looks at."""

    def __init__(self, *pieces: bytes) -> None:
        self.content_length = None
        self.headers: dict[str, str] = {}
        self.content = self
        self._pieces = pieces

    async def iter_any(self) -> Any:
        for piece in self._pieces:
            yield piece


def test_bodies_of_all_requests_share_one_bound_and_give_it_back() -> None:
    held = Held(10)
    endpoint = PathTable().find("POST", "/v1/completions")

    async def read(*pieces: bytes) -> bytes:
        request: Any = Request(*pieces)
        with held.body() as body:
            return await body.read(request, endpoint)

    async def together() -> None:
        request: Any = Request(b"123456")
        with held.body() as first:
            assert await first.read(request, endpoint) == b"123456"
            with pytest.raises(Refusal) as caught:
                await read(b"12", b"345")
            assert (caught.value.status, caught.value.retry_after_s) == (429, 2)
            assert await read(b"1234") == b"1234"
        assert await read(b"1234567890") == b"1234567890"

    asyncio.run(together())
    assert held.bytes == 0
