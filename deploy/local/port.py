"""Whether the port is free for us; asked before any work, not after the model is quantized."""

from __future__ import annotations

import json
import socket

from quantserve.core.errors import ResourceError
from quantserve.deploy.local.environments import HOME
from quantserve.deploy.local.settings import Settings


def problem_with(host: str, port: int) -> str | None:
    """Return why nothing can listen there, in the system's words; None when it is free."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, UnicodeError) as error:
            return getattr(error, "strerror", None) or str(error)
    return None


def require_port(settings: Settings) -> None:
    """Refuse a port that somebody else holds; one that our own server holds will be replaced.

    Raises:
        ResourceError: it is taken, or the address is not this machine's.
    """
    problem = problem_with(settings.BIND, int(settings.PORT))
    state = HOME / "run" / "serving.json"
    ours = json.loads(state.read_text(encoding="utf-8")) if state.is_file() else {}
    if problem is None or str(ours.get("port")) == settings.PORT:
        return
    mend = f"End what listens there, or choose another: make up PORT={int(settings.PORT) % 65535 + 1}"
    if problem_with(settings.BIND, 0) is not None:
        mend = "BIND is an address of this machine: 127.0.0.1 for itself alone, 0.0.0.0 for all"
    raise ResourceError(f"Port {settings.PORT} on {settings.BIND} cannot be used: {problem}", mend=mend)
