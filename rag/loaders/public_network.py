"""Connect to public addresses only.

A name is resolved once, here, every address it has is judged, and the connection goes to the very address
that was judged: a name server that answers differently the second time (DNS rebinding) is not asked again.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable

import httpcore

from quantserve.rag.errors import PageRefused

Judge = Callable[[str], bool]
"""Says whether an IP address may be connected to."""
_SocketOptions = Iterable[
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
]


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet; one wrapped in IPv6 counts as itself."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            ip = inner
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def resolve(host: str, port: int) -> list[str]:
    """Return the IP addresses of a host."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class PublicNetwork(httpcore.NetworkBackend):
    """httpcore's sockets, with every address judged before it is used."""

    def __init__(self, judge: Judge = is_public, resolver: Callable[[str, int], list[str]] = resolve) -> None:
        """`judge` and `resolver` are handed in by tests, whose servers are on loopback."""
        self._judge, self._resolve = judge, resolver
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: _SocketOptions | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address of a host when all of them are public.

        Raises:
            PageRefused: one is not.
        """
        try:
            addresses = self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} is not known") from error
        for address in addresses:
            if not self._judge(address):
                raise PageRefused(
                    f"{host} has the address {address}, which is not on the public internet",
                    mend="Save the page as a file and index that",
                )
        return self._sockets.connect_tcp(addresses[0], port, timeout, local_address, socket_options)

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: _SocketOptions | None = None
    ) -> httpcore.NetworkStream:
        """Refuse: a page has no business there.

        Raises:
            PageRefused: always.
        """
        raise PageRefused("local sockets are no web pages")
