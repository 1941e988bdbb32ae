"""Addresses that open one document's file for some minutes without a key, for a browser's own PDF viewer.

A viewer cannot send an Authorization header. A ticket is signed with a secret of this process and names the
document and when it ends, so it opens nothing else and nothing later, and a restart ends them all.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable

_VALID_S = 300
_FILE = re.compile(r"/documents/([0-9a-f]{16})/file")
_TICKET = re.compile(r"(\d{1,12})-([0-9a-f]{64})")


class Tickets:
    """Makes and checks them; `clock` gives seconds since 1970."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Make the secret."""
        self._secret = secrets.token_bytes(32)
        self._clock = clock

    def address(self, document: str) -> str:
        """Return the address of a document's file, with its ticket."""
        ends = int(self._clock()) + _VALID_S
        return f"/documents/{document}/file?ticket={ends}-{self._sign(document, ends)}"

    def allows(self, path: str, ticket: str) -> bool:
        """Whether a ticket opens a path now."""
        file, parts = _FILE.fullmatch(path), _TICKET.fullmatch(ticket)
        if file is None or parts is None:
            return False
        ends = int(parts[1])
        return hmac.compare_digest(parts[2], self._sign(file[1], ends)) and self._clock() < ends

    def _sign(self, document: str, ends: int) -> str:
        return hmac.new(self._secret, f"{document} {ends}".encode(), hashlib.sha256).hexdigest()
