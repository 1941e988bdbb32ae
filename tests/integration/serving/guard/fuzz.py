"""Send malformed requests to a server and count what comes back."""

from __future__ import annotations

import socket
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import psutil
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.integration.serving.guard.malformed import Raw, raw_requests

BATCH = 10
EXAMPLES = 300
"""Batches of one run: 3,000 requests."""
MOST_GROWTH_BYTES = 64 << 20
_ANSWER_TIMEOUT_S = 30.0


@dataclass
class Tally:
    """Answers by status, "closed" for a connection that ended without one."""

    answers: Counter[str] = field(default_factory=Counter)

    @property
    def sent(self) -> int:
        return self.answers.total()

    @property
    def refused(self) -> int:
        return sum(count for status, count in self.answers.items() if status.startswith("4"))


def answer_to(port: int, request: Raw) -> str:
    """Return the status of the answer; the rest of it is not waited for.

    Raises:
        TimeoutError: nothing came, and the connection stayed open.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_TIMEOUT_S) as connection:
        try:
            connection.sendall(request.data)
            if request.leaves:
                connection.shutdown(socket.SHUT_WR)
            head = connection.recv(65536)
            if head.startswith(b"HTTP/1.1 100"):
                head = head.partition(b"\r\n\r\n")[2] or connection.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            return "closed"
    words = head.split(maxsplit=2)
    return words[1].decode() if len(words) > 1 else "closed"


def fuzz(port: int, examples: int) -> Tally:
    """Send `examples` batches; the first answer of 500 or above ends it, with the request made small."""
    tally = Tally()

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,  # the same requests on every machine: a failure is one of the change, not of luck
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(raw_requests(), min_size=BATCH, max_size=BATCH))
    def send(batch: list[Raw]) -> None:
        for request in batch:
            status = answer_to(port, request)
            tally.answers[status] += 1
            assert status < "5" or status == "closed", f"{status} to {request.data[:2000]!r}"

    send()
    return tally


def weight_of(pid: int) -> dict[str, int]:
    """Memory in bytes and open descriptors of a process and all it started."""
    root = psutil.Process(pid)
    family: list[Any] = [root, *root.children(recursive=True)]
    return {
        "memory": sum(process.memory_info().rss for process in family),
        "descriptors": sum(process.num_fds() for process in family),
    }
