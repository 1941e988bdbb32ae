"""What the front costs: one server, asked directly and through a front before it, in turns.

    python -m quantserve.serving.replicas.bench http://127.0.0.1:8000 [--policy cache_aware] [--rounds 500]

Any server of OpenAI's API will do, also one whose answers take no time, which shows the front alone. The
front runs in a process of its own, in the supervisor's event loop. What is printed is the median of each side
and of the difference within a pair, which other programs disturb least.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import multiprocessing
from multiprocessing.connection import Connection
from statistics import median
from time import perf_counter
from typing import Annotated
from urllib.parse import urlsplit

import typer
import uvloop

from quantserve.core.console import emit_json, run_app
from quantserve.serving.config import LOOPBACK
from quantserve.serving.errors import NotRunning
from quantserve.serving.guard.settings import GuardSettings
from quantserve.serving.replicas.config import POLICIES, FrontOptions, PickingOptions
from quantserve.serving.replicas.front import Front
from quantserve.serving.replicas.public_port import PublicPort

_WARM_UP = 50
_WORDS = "the quick brown fox jumps over the lazy dog "


def _serve(url: str, policy: str, tell: Connection) -> None:
    """Run a front until nobody listens any more."""

    async def run() -> None:
        guard = GuardSettings.model_validate({})
        front = Front(FrontOptions(), PickingOptions(policy=policy), guard, keys=True)
        front.add("1", url)
        port = PublicPort(front, guard.limits, FrontOptions.most_held_bytes)
        await port.open(LOOPBACK, 0)
        tell.send(port.number)
        await asyncio.Event().wait()  # ended by the parent

    uvloop.run(run())


class _Side:
    """One kept connection."""

    def __init__(self, host: str, port: int, key: str) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=60)
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}

    def ask_ms(self, body: bytes) -> float:
        """Ask and read the whole answer."""
        start = perf_counter()
        self._connection.request("POST", "/v1/chat/completions", body, self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise NotRunning(f"the server answered {answer.status}: {text[:200].decode(errors='replace')}")
        return (perf_counter() - start) * 1e3


def compare(lone: _Side, front: _Side, body: bytes, rounds: int) -> dict[str, float]:
    """Ask both in turns, each first as often as the other; return medians in milliseconds."""
    for side in (lone, front):
        for _ in range(_WARM_UP):
            side.ask_ms(body)
    pairs = []
    for number in range(rounds):
        first, second = (lone, front) if number % 2 else (front, lone)
        times = {first: first.ask_ms(body), second: second.ask_ms(body)}
        pairs.append((times[lone], times[front]))
    alone, through = (median(side) for side in zip(*pairs, strict=True))
    added = median(b - a for a, b in pairs)
    figures = {"lone_ms": alone, "front_ms": through, "added_ms": added, "ratio": through / alone}
    return {name: round(value, 3) for name, value in figures.items()}


def main(
    server: Annotated[str, typer.Argument(help="root address of a server, without /v1")],
    policy: Annotated[str, typer.Option(help=f"One of {', '.join(POLICIES)}.")] = PickingOptions.policy,
    rounds: Annotated[int, typer.Option(min=2, help="Pairs of requests of each kind.")] = 500,
    model: Annotated[str, typer.Option(help="Name of the model that is asked.")] = "fake-model",
    key: Annotated[str, typer.Option(help="API key, where the server asks for one.")] = "none",
) -> None:
    """Time whole answers and streams of eight tokens, directly and through the front."""
    where = urlsplit(server)
    told, tell = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_serve, args=(server, policy, tell), daemon=True)
    process.start()
    try:
        lone = _Side(where.hostname or LOOPBACK, where.port or 80, key)
        front = _Side(LOOPBACK, int(told.recv()), key)
        messages = [{"role": "system", "content": _WORDS * 20}, {"role": "user", "content": _WORDS * 5}]
        asked = {"model": model, "messages": messages, "max_tokens": 8, "temperature": 0}
        figures = {
            kind: compare(lone, front, json.dumps({**asked, "stream": kind == "stream"}).encode(), rounds)
            for kind in ("whole", "stream")
        }
    finally:
        process.kill()
    emit_json({"policy": policy, **figures})


if __name__ == "__main__":
    program = typer.Typer(pretty_exceptions_enable=False)
    program.command()(main)
    run_app(program, "replicas bench")
