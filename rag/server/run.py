"""Start the server: refuse what would be unsafe, take the port, say what is open, run."""

from __future__ import annotations

import errno
import socket

from core.console import console, emit_json, styled
from core.errors import ResourceError
from rag.config import RagConfig
from rag.server.config import ServerConfig
from rag.server.keys import require_keys

_BACKLOG = 2048


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


def serve(rag: RagConfig, config: ServerConfig, *, json_output: bool = False) -> None:
    """Serve until told to end; `json_output` prints the address as a line of JSON first.

    Raises:
        UsageError: it would be open to other machines without keys.
        ResourceError: the port is taken.
    """
    require_keys(config.host, config.keys_file)
    taken = listen(config.host, config.port)
    import uvicorn

    from rag.server.app import create_app
    from rag.server.service import Service

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
        uvicorn.Server(
            uvicorn.Config(
                create_app(service),
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=int(config.shutdown_s),
            )
        ).run(sockets=[taken])
