"""What a state file says of a running server."""

from __future__ import annotations

import os
from typing import Any

from quantserve.serving.processes import start_ticks
from quantserve.serving.state import ServerState


def state(**changes: Any) -> ServerState:
    """A server that this process launched, but for `changes`."""
    fields: dict[str, Any] = {
        "status": "ready",
        "url": "http://127.0.0.1:1",
        "base_url": "http://127.0.0.1:1/v1",
        "host": "127.0.0.1",
        "port": 1,
        "pid": os.getpid(),
        "pid_start": start_ticks(os.getpid()),
        "engine_pid": None,
        "model": "m",
        "target": "/m",
        "version": None,
        "profile": "cpu",
        "dtype": "float32",
        "log": None,
        "argv": [],
        "env": {},
        "request": {},
        "started_at": 0.0,
    }
    return ServerState(**{**fields, **changes})
