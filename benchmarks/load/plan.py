"""What a load process is told to do: tasks of one or more turns, and when to send them.

A plan is decided completely before the first request leaves, so that deciding costs no time while
measuring, and so that the same seed gives the same requests.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import orjson


@dataclasses.dataclass(frozen=True, slots=True)
class Turn:
    """One request of a task.

    `prompt` is a text for /v1/completions, or the message list to append to the conversation for
    /v1/chat/completions; the answers to earlier turns are put between them as they really came.
    """

    prompt: str | list[dict[str, Any]]
    max_tokens: int
    prompt_tokens: int | None = None
    """Exact length by the server's tokenizer, where the workload made sure of it."""
    shared_tokens: int = 0
    """Leading tokens that earlier prompts of this run also have: what a prefix cache may reuse."""


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """A conversation; most have one turn."""

    id: int
    turns: list[Turn]
    at_s: float | None = None
    """When to send the first turn, counted from the start of the cell; None: when a user is free."""


@dataclasses.dataclass(frozen=True, slots=True)
class LoadTarget:
    """Where the requests go."""

    base_url: str
    """Ends in /v1."""
    model: str
    api_key: str | None = None
    chat: bool = False
    """Use /chat/completions; otherwise /completions."""
    ignore_eos: bool = True
    """Ask for exactly `max_tokens` tokens (vLLM's extension), so that work does not differ by answer."""
    chunk_usage: bool = False
    """Ask for token counts on every chunk (vLLM's `continuous_usage_stats`)."""
    temperature: float = 0.0
    extra_body: dict[str, Any] = dataclasses.field(default_factory=dict)
    timeout_s: float = 600.0


@dataclasses.dataclass(frozen=True, slots=True)
class Shard:
    """The part of a cell that one load process drives."""

    cell: str
    target: LoadTarget
    tasks: list[Task]
    users: int | None
    """Closed loop: so many users, each with one request at a time. None: open loop by `Task.at_s`."""
    epoch_s: float
    """perf_counter at the run's zero."""
    duration_s: float | None = None
    """Stop sending after this long; requests under way get `grace_s` more."""
    grace_s: float = 30.0
    phase: str = "measure"
    ramp_s: float = 0.0
    """Closed loop: users start spread over this long, so that they do not move in step."""


def dump_shard(shard: Shard) -> bytes:
    """Write a shard as JSON."""
    return orjson.dumps(shard)


def load_shard(data: bytes) -> Shard:
    """Read what `dump_shard` wrote."""
    value = orjson.loads(data)
    tasks = [
        Task(id=task["id"], at_s=task["at_s"], turns=[Turn(**turn) for turn in task["turns"]])
        for task in value.pop("tasks")
    ]
    return Shard(target=LoadTarget(**value.pop("target")), tasks=tasks, **value)
