"""Whether the port is free for us; asked before any work, not after the model is quantized."""

from __future__ import annotations

import json
import socket

from quantserve.core.errors import ResourceError
from quantserve.core.home import command_home
from quantserve.deploy.local.options import UpOptions


def problem_with(host: str, port: int) -> str | None:
    """Return why nothing can listen there, in the system's words; None when it is free."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, UnicodeError) as error:
            return getattr(error, "strerror", None) or str(error)
    return None


def require_port(options: UpOptions) -> None:
    """Refuse a port that somebody else holds; one that our own server holds will be replaced.

    Raises:
        ResourceError: it is taken, or the address is not this machine's.
    """
    problem = problem_with(options.host, options.port)
    state = command_home() / "run" / "serving.json"
    ours = json.loads(state.read_text(encoding="utf-8")) if state.is_file() else {}
    if problem is None or ours.get("port") == options.port:
        return
    mend = f"End what listens there, or choose another: --port {options.port % 65535 + 1}"
    if problem_with(options.host, 0) is not None:
        mend = "--host is an address of this machine: 127.0.0.1 for itself alone, 0.0.0.0 for all"
    raise ResourceError(f"Port {options.port} on {options.host} cannot be used: {problem}", mend=mend)
