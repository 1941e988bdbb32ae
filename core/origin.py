"""May this web page or host name ask a server without keys? One rule for every server of ours. Pure.

A browser lets any page send requests to this machine: forms and plain text without asking first, and, by a
name that an attacker's DNS lets point here (DNS rebinding), everything. Such a request shows itself by its
Host, which is no name of this machine, or by its Origin, which is not the server asked.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Literal
from urllib.parse import urlsplit

Foreign = Literal["foreign_host", "foreign_origin"]
WHY: dict[Foreign, str] = {
    "foreign_host": "without keys only http://127.0.0.1 and http://localhost are answered",
    "foreign_origin": "without keys other sites' pages may not ask",
}
"""What the sender reads."""


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
