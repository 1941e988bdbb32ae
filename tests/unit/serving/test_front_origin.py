"""The front keeps other sites' pages out where no key does, and says who it is to the replicas' guards."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from quantserve.serving.guard.internal import FRONT_HEADER, VARIABLE
from quantserve.serving.guard.paths import PathTable
from quantserve.serving.replicas.config import FrontOptions
from quantserve.serving.replicas.front import Front


def status_of(origins: Collection[str] | None, headers: dict[str, str]) -> int:
    """Ask a front without replicas for its health; 503 is its usual answer."""

    async def ask() -> int:
        front = Front(FrontOptions(), "round_robin", PathTable(), origins)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", front.handle)
        async with TestServer(app, host="127.0.0.1") as server, ClientSession() as client:
            own = f"http://127.0.0.1:{server.port}"
            given = {name: value.replace("OWN", own) for name, value in headers.items()}
            async with client.get(f"{own}/health", headers=given) as answer:
                status = answer.status
        await front.close()
        return status

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("origins", "headers", "status"),
    [
        ((), {}, 503),
        ((), {"Origin": "OWN"}, 503),
        ((), {"Host": "evil.example"}, 403),
        ((), {"Origin": "https://evil.example"}, 403),
        (("https://page.example",), {"Origin": "https://page.example"}, 503),
        (None, {"Host": "pod.example", "Origin": "https://page.example"}, 503),
    ],
)
def test_other_sites_pages_are_refused_without_keys(
    origins: Collection[str] | None, headers: dict[str, str], status: int
) -> None:
    assert status_of(origins, headers) == status


def test_only_the_front_itself_says_that_it_is_the_front(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "qs-internal-k")
    seen: list[dict[str, str]] = []

    async def replica(request: web.Request) -> web.Response:
        seen.append({name.lower(): value for name, value in request.headers.items()})
        return web.Response(text="figures")

    async def ask() -> None:
        behind, before = web.Application(), web.Application()
        behind.router.add_route("*", "/{path:.*}", replica)
        front = Front(FrontOptions(), "round_robin", PathTable(), None)
        before.router.add_route("*", "/{path:.*}", front.handle)
        async with TestServer(behind) as one, TestServer(before) as public, ClientSession() as client:
            front.replicas["1"] = f"http://127.0.0.1:{one.port}"
            forged = {FRONT_HEADER: "qs-internal-guess", "X-Forwarded-For": "9.9.9.9"}
            async with client.get(f"http://127.0.0.1:{public.port}/metrics", headers=forged) as answer:
                assert answer.status == 200
        await front.close()

    asyncio.run(ask())
    assert seen[0][FRONT_HEADER.lower()] == "qs-internal-k"
    assert seen[0]["x-forwarded-for"] == "127.0.0.1"
