"""The raw record of one request, and the cell it belongs to: every figure is computed from these alone.

All times are seconds of `time.perf_counter` minus the run's epoch. On Linux that clock is
CLOCK_MONOTONIC, one for all processes of a machine, so load processes and local servers share it.
Unknown is None, never 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

from quantserve.benchmarks.errors import BadRun


class Failure(StrEnum):
    """Why a request did not deliver its answer. Failed requests never enter a latency figure."""

    REFUSED = "refused"  # no connection could be made
    DISCONNECTED = "disconnected"  # the connection closed before the answer ended
    TIMEOUT = "timeout"  # nothing final within the time limit
    RATE_LIMITED = "http_429"
    CLIENT_ERROR = "http_4xx"
    SERVER_ERROR = "http_5xx"
    ERROR_EVENT = "error_event"  # the stream carried an error object
    MALFORMED = "malformed"  # not the protocol: broken JSON, no [DONE], no usage where promised
    EMPTY = "empty"  # a complete answer without a single token
    SHORT = "short"  # fewer tokens than were demanded with ignore_eos
    CUT_OFF = "cut_off"  # the run's time ended first; counted apart, blamed on nobody


@dataclasses.dataclass(slots=True)
class Record:
    """One request, as observed by the client."""

    cell: str
    task: int
    turn: int
    intended_s: float
    """When the schedule wanted it sent; equal to `sent_s` in a closed loop."""
    sent_s: float
    """Stamped before the first byte is handed to the socket (and before connecting, if it must)."""
    first_byte_s: float | None = None
    """First byte of the response's head."""
    token_s: list[float] = dataclasses.field(default_factory=list)
    """Arrival of each chunk that carried tokens."""
    token_n: list[int] | None = None
    """Tokens in each of those chunks, where the server said so."""
    done_s: float | None = None
    """Last byte of the response."""
    status: int | None = None
    failure: str | None = None
    detail: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    """Prompt tokens the server took from its prefix cache, where it says so."""
    wanted_tokens: int | None = None
    finish_reason: str | None = None
    phase: str = "measure"
    """`warmup` records are stored and never counted."""
    extra: dict[str, Any] | None = None
    """What our own servers report about themselves (slot, start, end), and a RAG answer's stages."""

    @property
    def ok(self) -> bool:
        """Whether the answer arrived whole."""
        return self.failure is None


_FIELDS = {field.name for field in dataclasses.fields(Record)}


def encode(record: Record) -> bytes:
    """One JSON line."""
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def append(path: Path, records: Iterable[Record]) -> None:
    """Append records to a JSON-lines file."""
    with path.open("ab") as stream:
        stream.writelines(encode(record) for record in records)


def read(path: Path) -> Iterator[Record]:
    """Read records back.

    Raises:
        BadRun: the file is missing or a line is not a record. A torn last line (a killed run) is skipped.
    """
    if not path.is_file():
        raise BadRun(f"{path} does not exist", mend="Name a directory that a benchmark wrote, as in runs/")
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n"):
                return
            try:
                value = orjson.loads(line)
                if not isinstance(value, dict) or not value.keys() <= _FIELDS:
                    raise ValueError("unknown fields")
                yield Record(**value)
            except (ValueError, TypeError) as error:
                raise BadRun(f"{path}, line {number}, is no record ({error})") from error


@dataclasses.dataclass(frozen=True)
class LoadCell:
    """What was measured once. Cells that differ in `repeat` alone make one point."""

    id: str
    subject: str
    """What is compared: a server, an artifact, a batching way, a feature switched on."""
    workload: str
    load: str
    """As load.spec writes it: closed:8, poisson:4.5 …"""
    repeat: int
    users: int | None
    rate_per_s: float | None
    started_s: float
    ended_s: float
    client_cpu_share: float | None
    processes: int
    """Load processes; 0: asked by threads of what is measured."""
    seed: int
    shared_tokens: int = 0
    single_turn: bool = True
    exact_tokens: bool = True
    new_prompts: bool = False
    """The prompts were drawn for this run: no server can have seen them before."""
    server: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What started it: argv, environment, ready seconds, artifact."""

    @property
    def point(self) -> tuple[str, str, str]:
        """Cells with the same key are repeats of each other."""
        return self.subject, self.workload, self.load
