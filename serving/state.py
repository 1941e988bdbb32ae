"""The file that says what is served: written by the launcher, read by everyone else."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from quantserve.core.files import write_json
from quantserve.serving.processes import process_alive, start_ticks


@dataclass(frozen=True)
class LastProbe:
    """The last time the launcher asked its engine for a token."""

    ok: bool
    seconds: float | None
    """Time the token took; None when none came."""
    problem: str
    at: float
    """Unix time."""


@dataclass(frozen=True)
class ServerState:
    """One launcher and its engine. The ready file holds the same fields."""

    status: Literal["starting", "ready", "restarting", "stopping"]
    url: str
    """Root of the server, without /v1."""
    base_url: str
    """The same with /v1, as OpenAI clients want it."""
    host: str
    port: int
    pid: int
    """The launcher: send it SIGTERM to stop the server."""
    pid_start: int
    """Kernel start time of that process, so that a reused id is not mistaken for it."""
    engine_pid: int | None
    model: str
    target: str
    version: str | None
    profile: str
    dtype: str
    log: str | None
    argv: list[str]
    env: dict[str, str]
    request: dict[str, Any]
    """What the user asked for; `up` compares it to know whether the same is running."""
    started_at: float
    """Unix time."""
    ready_s: float | None = None
    kv_cache_tokens: int | None = None
    kv_cache_tokens_planned: int | None = None
    given_target: str | None = None
    """The target as the user wrote it, absolute; a `current` link is followed anew by `restart`."""
    replicas: list[dict[str, Any]] = field(default_factory=list)
    """Several replicas behind one port: what is known of each; `pid` is their supervisor then."""
    policy: str | None = None
    """How a replica is chosen; None for a server alone."""
    rolling: dict[str, Any] | None = None
    """The last rolling restart: its id, status (running, done, failed) and message."""
    drain_s: float = 30.0
    """Time running requests get when it is stopped."""
    restarts: int = 0
    """Engines started again because the one before died or hung."""
    last_failure: str | None = None
    """Why the last of them was started."""
    last_probe: LastProbe | None = None
    copies: int = 1
    """Engines in the server; each is probed."""
    tls_certificate: str | None = None
    """File of the certificate it shows; None where it speaks plain HTTP."""

    @property
    def alive(self) -> bool:
        """Whether the launcher that wrote this still runs."""
        return process_alive(self.pid) and start_ticks(self.pid) == self.pid_start

    def changed(self, **fields: Any) -> ServerState:
        """Return a copy with some fields replaced."""
        return replace(self, **fields)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def write_state(path: Path, state: ServerState) -> None:
    """Write the state atomically."""
    write_json(path, state.to_json(), private=True)


def read_state(path: Path) -> ServerState | None:
    """Return the state of a launcher that lives, or None."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        state = _from_json(data) if isinstance(data, dict) else None
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError, TypeError):
        return None  # absent, or of another version: nothing that we could control
    return state if state is not None and state.alive else None


def _from_json(data: dict[str, Any]) -> ServerState:
    probe = data.get("last_probe")
    return ServerState(**{**data, "last_probe": None if probe is None else LastProbe(**probe)})


def remove_state(path: Path, pid: int) -> None:
    """Remove the file if it is still the one written by the launcher `pid`."""
    try:
        owner = json.loads(path.read_text(encoding="utf-8")).get("pid")
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return
    if owner == pid:
        path.unlink(missing_ok=True)
