"""Ports: is one free, who holds it, give me a spare one."""

from __future__ import annotations

import socket

from quantserve.serving.errors import PortTaken

BACKLOG = 2048
"""Connections the kernel keeps for us; uvicorn, whose engines inherit the socket, uses the same."""


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def port_holder(port: int) -> str:
    """Name the process that listens on a port, as far as we may see it; "" when unknown."""
    import psutil

    try:
        for connection in psutil.net_connections(kind="tcp"):
            local = connection.laddr
            if local and local.port == port and connection.status == psutil.CONN_LISTEN and connection.pid:
                process = psutil.Process(connection.pid)
                return f"{process.name()}, process {connection.pid}"
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        return ""
    return ""


def listen_on(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 picks a spare one.

    Raises:
        PortTaken: something listens there, or the address is not this machine's.
    """
    listener = socket.socket(_family(host), socket.SOCK_STREAM, socket.IPPROTO_TCP)  # else Nagle waits
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OverflowError as error:
        listener.close()
        raise PortTaken(f"{port} is no port", mend="Give one from 1 to 65535") from error
    except OSError as error:
        listener.close()
        holder = port_holder(port)
        raise PortTaken(
            f"cannot listen on {host}:{port}: {error.strerror}{f' ({holder})' if holder else ''}",
            mend="Stop it, or choose another port with --port",
        ) from error
    return listener


def claim_port(host: str, port: int) -> int:
    """Check that `port` can be listened on and return it; 0 returns a spare one.

    Raises:
        PortTaken: something listens there, or the address is not this machine's.
    """
    with listen_on(host, port) as probe:
        chosen: int = probe.getsockname()[1]
        return chosen


def url_of(host: str, port: int, *, tls: bool = False) -> str:
    """Return the address a client on this machine uses."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    scheme = "https" if tls else "http"
    return f"{scheme}://[{reachable}]:{port}" if ":" in reachable else f"{scheme}://{reachable}:{port}"
