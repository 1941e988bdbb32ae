"""What every answer of the hub needs: its form, who asks, and the repository that is meant."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.fakes.hub.server import FakeHub

LFS_BYTES = 100


class HubRequest(BaseHTTPRequestHandler):
    """One request, read but not yet answered."""

    hub: FakeHub
    body: bytes
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def _json(self, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self._bytes(
            json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})}
        )

    def _bytes(self, data: bytes, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(HTTPStatus(status))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _authorized(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {self.hub.token}":
            return True
        self._json({"error": "Invalid credentials"}, 401)
        return False

    def _found(self, kind: str, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        repository = self.hub.repositories.get((kind, name))
        if repository is None:
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            return None
        found = repository.at(revision)
        if found is None:
            self._json({"error": "Invalid rev"}, 404, {"X-Error-Code": "RevisionNotFound"})
        return found


def entry(name: str, data: bytes) -> dict[str, Any]:
    """Describe a file as a listing does."""
    described: dict[str, Any] = {"type": "file", "path": name, "size": len(data)}
    described["oid"] = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    if len(data) > LFS_BYTES:
        oid = hashlib.sha256(data).hexdigest()
        described["lfs"] = {"oid": oid, "sha256": oid, "size": len(data), "pointerSize": 130}
    return described
