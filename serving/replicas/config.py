"""What several replicas can be told, with their defaults. All times in seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from quantserve.core.console import console
from quantserve.serving.background import serve_argv
from quantserve.serving.config import (
    PART_RESTARTS,
    LauncherOptions,
    RestartOptions,
    RunDirectory,
    ServeOptions,
)

LEAST_RUNNING, CACHE_AWARE, STICKY = POLICIES = ("least_running", "cache_aware", "sticky")
ServeArgv = Callable[[Path, ServeOptions, RunDirectory, float], list[str]]


@dataclass(frozen=True)
class PickingOptions:
    """How a replica is chosen. docs/replicas.md says where each number comes from."""

    policy: str = ServeOptions.policy
    imbalance: int = 8
    """cache_aware: one with so many more running requests than the idlest is not chosen …"""
    imbalance_ratio: float = 1.5
    """… nor one with so many times as many, where that is more."""
    match: float = 0.3
    """cache_aware: a shorter part of the prompt decides nothing."""
    block_bytes: int = 128
    most_blocks: int = 256
    """Of one prompt; what follows decides nothing."""
    most_blocks_kept: int = 32_768
    """Of each replica: about 6 MB of memory, and 4 MiB of prompts."""
    most_sessions: int = 65_536
    """sticky: beyond it the one that was quiet longest is forgotten."""
    most_read_bytes: int = 1 << 20
    """A longer body is not looked into: reading it would hold up every stream."""
    rest_s: float = 1.0
    """A replica that was away is chosen only where there is no other, for so long."""


@dataclass(frozen=True)
class FrontOptions:
    """The public port."""

    patience_s: float = 10.0
    """Time a request waits for a replica that is being replaced; then 503."""
    first_pause_s: float = 0.05
    most_pause_s: float = 0.5
    retry_after_s: int = 2
    connect_timeout_s: float = 2.0
    most_held_bytes: int = 256 << 20
    """Bodies of all requests that run or wait; more are refused until some have ended."""


@dataclass(frozen=True)
class SupervisorOptions:
    """How replicas are looked after."""

    ready_timeout_s: float = 900.0
    poll_s: float = 0.1
    finish_s: float = 600.0
    """Time the answers of a replica that is replaced get before it is told to drain."""
    restart: RestartOptions = PART_RESTARTS
    watch_s: float = 1.0
    """Between two looks at what the replicas say of themselves, for the state file."""
    stop_margin_s: float = 25.0
    """Waited beyond the drain time before a replica is killed."""
    orphan_grace_s: float = 10.0


@dataclass(frozen=True)
class SupervisorSettings:
    """Everything the supervisor is told besides what a replica is."""

    options: ServeOptions
    run: RunDirectory
    launcher: LauncherOptions
    state_file: Path | None
    picking: PickingOptions = field(default_factory=PickingOptions)
    front: FrontOptions = field(default_factory=FrontOptions)
    times: SupervisorOptions = field(default_factory=SupervisorOptions)
    serve: ServeArgv = serve_argv
    """Makes the command line of one replica."""


def say(text: str) -> None:
    """Write one line into the supervisor's log."""
    console.print(text, markup=False, soft_wrap=True)
    sys.stderr.flush()
