"""May this web page or host name ask a server without keys? One rule for every server of ours. Pure.

A browser lets any page send requests to this machine: forms and plain text without asking first, and, by a
name that an attacker's DNS lets point here (DNS rebinding), everything. Such a request shows itself by its
Host, which is no name of this machine, or by its Origin, which is not the server asked.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from typing import Literal
from urllib.parse import urlsplit

from quantserve.core.http.refusal import Refusal

Foreign = Literal["foreign_host", "foreign_origin"]
WHY: dict[Foreign, str] = {
    "foreign_host": "without keys only http://127.0.0.1 and http://localhost are answered",
    "foreign_origin": "without keys other sites' pages may not ask",
}
"""What the sender of a request that is another site's reads."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address; a name other than localhost is taken as reachable."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _host_of(authority: str) -> str | None:
    try:
        return urlsplit(f"//{authority}").hostname
    except ValueError:  # "[::1" and the like
        return None


def foreign(host: str, origin: str | None, allowed_origins: Collection[str] = ()) -> Foreign | None:
    """Tell why a request is another site's: by its Host and Origin headers, None when it is not.

    `allowed_origins` are further origins whose pages may ask, each as http://name:port.
    """
    if not is_loopback(_host_of(host) or ""):
        return "foreign_host"
    if origin is None or origin in allowed_origins:
        return None
    try:
        own = urlsplit(origin).netloc == host
    except ValueError:
        own = False
    return None if own else "foreign_origin"


def foreign_headers(
    headers: Iterable[tuple[bytes, bytes]], allowed_origins: Collection[str] = ()
) -> Foreign | None:
    """Tell the same of a request's headers as they came.

    Where a header comes twice, each must be ours: which of them others go by is not known here.
    """
    hosts: list[str] = []
    origins: list[str | None] = []
    for name, value in headers:
        if name == b"host":
            hosts.append(value.decode("latin-1"))
        elif name == b"origin":
            origins.append(value.decode("latin-1"))
    found = (foreign(host, origin, allowed_origins) for host in hosts or [""] for origin in origins or [None])
    return next((why for why in found if why is not None), None)


def require_own(headers: Iterable[tuple[bytes, bytes]], allowed_origins: Collection[str] = ()) -> None:
    """Refuse what another site's page sends to a server that asks for no key.

    Raises:
        Refusal: 403; the body is not read, so the connection ends.
    """
    why = foreign_headers(headers, allowed_origins)
    if why is not None:
        raise Refusal(403, why, WHY[why], close=True)
