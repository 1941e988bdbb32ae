"""Start the server: refuse what would be unsafe, take the port, say what is open, run."""

from __future__ import annotations

import errno
import resource
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from quantserve.core.console import console, emit_json, styled
from quantserve.core.errors import ResourceError
from quantserve.core.http.keys import require_keys_beyond_loopback
from quantserve.rag.config import RagConfig
from quantserve.rag.server.config import ServerConfig, key_rules

if TYPE_CHECKING:
    import uvicorn

    from quantserve.rag.server.service import Service

_BACKLOG = 2048
_OTHER_DESCRIPTORS = 512
"""Files, the model server's and the store's connections."""


def listen(host: str, port: int) -> socket.socket:
    """Take the port.

    Raises:
        ResourceError: it cannot be had.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host.strip("[]"), port), family=family, backlog=_BACKLOG)
    except OSError as error:
        is_taken = error.errno == errno.EADDRINUSE
        problem = (
            f"port {port} on {host} is taken" if is_taken else f"cannot listen on {host}:{port}: {error}"
        )
        raise ResourceError(problem, mend="Choose another: --port") from error


def require_keys(host: str, keys_file: Path | None) -> None:
    """Refuse to listen to other machines without keys.

    Raises:
        UsageError: in one line with the way out.
    """
    mend = f"Make one with {key_rules().command} create NAME, or use --host 127.0.0.1"
    require_keys_beyond_loopback(host, keys_file, danger="read the documents", mend=mend)


def serve(rag: RagConfig, config: ServerConfig, *, json_output: bool = False) -> None:
    """Serve until told to end; `json_output` prints the address as a line of JSON first.

    Raises:
        UsageError: it would be open to other machines without keys.
        ResourceError: the port is taken.
    """
    require_keys(config.host, config.keys_file)
    taken = listen(config.host, config.port)
    import uvicorn

    from quantserve.rag.server.service import Service

    with taken:
        service = Service(rag, config)
        host, port = taken.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        console.print(
            styled(
                ("serving", "bold green"),
                f" {address}  (web page and /v1; model server {rag.answer.base_url})",
            )
        )
        if config.keys_file is None:
            console.print("  no keys: everybody on this machine may ask, upload and delete", style="yellow")
        else:
            console.print(f"  keys from {config.keys_file}", markup=False)
        if json_output:
            emit_json({"url": address, "base_url": f"{address}/v1", "model": config.model_name})
        _allow_descriptors(config.bounds.max_connections)
        uvicorn.Server(uvicorn_config(service)).run(sockets=[taken])


def uvicorn_config(service: Service) -> uvicorn.Config:
    """Return how uvicorn serves the application, with our bounds on its connections."""
    import uvicorn

    from quantserve.core.http.connections import bounded_protocol
    from quantserve.rag.server.app import create_app

    return uvicorn.Config(
        create_app(service),
        http=bounded_protocol(service.connections),
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(service.config.shutdown_s),
    )


def _allow_descriptors(connections: int) -> None:
    """Let the process hold so many connections beside its files, as far as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
