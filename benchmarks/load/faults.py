"""Fault injection: clients that leave in the middle of a stream, and requests that no server should accept.

    with FaultInjection(target, leavers=2, seed=0) as faults: …      then faults.counts

Runs in a thread with its own event loop beside the measured load. Every answer is counted by its status
class; a 5xx, a connection without an answer and a refusal to connect are stored as examples.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import threading
from collections import Counter
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import orjson

from quantserve.benchmarks.load.plan import LoadTarget

_ANSWER_TIMEOUT_S = 20.0
_LONGEST_STAY_S = 3.0
_PAUSE_S = 0.2
_EXAMPLES = 10


@dataclasses.dataclass
class FaultCounts:
    """What came of it."""

    left: int = 0
    """Streams that were left before their end."""
    malformed: int = 0
    """Malformed requests sent."""
    statuses: Counter[str] = dataclasses.field(default_factory=Counter)
    """Answers to them: 4xx, 5xx, 2xx, hung, refused, closed."""
    examples: list[str] = dataclasses.field(default_factory=list)
    """What was wrong, a few of them."""

    @property
    def bad(self) -> int:
        """Answers that no malformed request may cause."""
        return sum(self.statuses[kind] for kind in ("5xx", "hung", "refused"))

    def to_json(self) -> dict[str, Any]:
        """Return plain data; `FaultCounts(**data)` with a Counter of the statuses reads it back."""
        return {**vars(self), "statuses": dict(self.statuses)}


def request(path: str, body: bytes, *headers: str, method: str = "POST", length: str | None = None) -> bytes:
    """One HTTP/1.1 request as bytes; `length` overrides the right content length. Pure."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Content-Type: application/json", *headers]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1", "replace") + body


def malformed(model: str, chance: random.Random) -> bytes:
    """One request that a server must refuse: wrong syntax, types, sizes, headers, paths. Pure."""
    number = chance.randint(2, 10**6)
    chat, completions = "/v1/chat/completions", "/v1/completions"
    good = {"model": model, "prompt": "x", "max_tokens": 1}
    odd_values = ["9" * 400, "NaN", "-Infinity", "1e999", "[]", "{}", '"8"', "true", str(-number)]
    field = chance.choice(["max_tokens", "temperature", "n", "top_p", "seed", "logprobs", "stop", "model"])
    odd = b'{"model":"%s","prompt":"x","%s":%s}' % (
        model.encode(),
        field.encode(),
        chance.choice(odd_values).encode(),
    )
    makers = [
        lambda: request(completions, chance.randbytes(chance.randint(1, 200))),
        lambda: request(completions, orjson.dumps(good)[: chance.randint(1, 20)]),
        lambda: request(completions, odd),
        lambda: request(completions, b"[" * number + b"]" * 3),
        lambda: request(chat, b'{"messages":' + b'{"a":' * 500 + b"1" + b"}" * 501),
        lambda: request(chat, orjson.dumps({"model": model, "messages": [None, number, {"role": "user"}]})),
        lambda: request(chat, b'{"model":"m","messages":[{"role":"user","content":"\xff\xfe"}]}'),
        lambda: request(completions, b"{}", length=chance.choice(["-1", "abc", "9" * 30])),
        lambda: request(f"/v1/{number}", b"{}", method=chance.choice(["GET", "PUT", "DELETE", "TRACE"])),
        lambda: request(completions, b"{}", "Transfer-Encoding: chunked", length="2"),
        lambda: request(chat, orjson.dumps({**good, "n": number, "messages": [{"role": "user"}]})),
    ]
    return chance.choice(makers)()


class FaultInjection:
    """Injects faults until the block ends."""

    def __init__(self, target: LoadTarget, *, leavers: int, seed: int) -> None:
        """`leavers` streams are under way, and left, at any time; malformed requests come five a second."""
        parts = urlsplit(target.base_url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._target, self._leavers = target, leavers
        self._chance = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="faults")
        self.counts = FaultCounts()

    def __enter__(self) -> FaultInjection:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, and wait for what is under way."""
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._leavers):
                group.create_task(self._leave_again_and_again())
            group.create_task(self._send_nonsense())

    async def _leave_again_and_again(self) -> None:
        key = f"Authorization: Bearer {self._target.api_key}"
        while not self._stop.is_set():
            words = {"prompt": f"Story {self._chance.random()}", "max_tokens": 400, "ignore_eos": True}
            body = orjson.dumps({"model": self._target.model, "stream": True, **words})
            try:
                reader, writer = await asyncio.open_connection(self._host, self._port)
            except OSError as error:
                self._note("refused", str(error))
                await asyncio.sleep(_PAUSE_S)
                continue
            writer.write(request("/v1/completions", body, *([key] if self._target.api_key else [])))
            try:
                async with asyncio.timeout(self._chance.uniform(0.0, _LONGEST_STAY_S)):
                    await reader.read()
            except TimeoutError:
                self.counts.left += 1
            except OSError as error:
                self._note("closed", str(error))
            writer.transport.abort()

    async def _send_nonsense(self) -> None:
        while not self._stop.is_set():
            sent = malformed(self._target.model, self._chance)
            self.counts.malformed += 1
            kind, detail = await self._answer_to(sent)
            self._note(kind, f"{sent[:160]!r} → {detail}")
            await asyncio.sleep(_PAUSE_S)

    async def _answer_to(self, sent: bytes) -> tuple[str, str]:
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(self._host, self._port)
                try:
                    writer.write(sent)
                    head = await reader.readline()
                finally:
                    writer.transport.abort()
        except TimeoutError:
            return "hung", f"nothing within {_ANSWER_TIMEOUT_S:g} s"
        except ConnectionRefusedError as error:
            return "refused", str(error)
        except OSError as error:
            return "closed", str(error)
        words = head.split()
        if len(words) < 2:
            return "closed", repr(head)
        return f"{chr(words[1][0])}xx", head.decode("latin-1").strip()

    def _note(self, kind: str, detail: str) -> None:
        self.counts.statuses[kind] += 1
        if kind in ("5xx", "hung", "refused") and len(self.counts.examples) < _EXAMPLES:
            self.counts.examples.append(f"{kind}: {detail}")
