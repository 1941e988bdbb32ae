"""Which path of the protocol is answered by what."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from tests.fakes.hub.reading import Reading
from tests.fakes.hub.uploading import Uploading

_REPO = r"(?:(?P<prefix>datasets)/)?(?P<id>[^/]+/[^/]+)"
_API = r"/api/(?P<kind>models|datasets)/(?P<id>[^/]+/[^/]+)"
_ROUTES = (
    ("GET", _API, "info"),
    ("GET", rf"{_API}/revision/(?P<revision>[^/]+)", "info"),
    ("GET", rf"{_API}/tree/(?P<revision>[^/]+)(?P<folder>/.*)?", "tree"),
    ("POST", rf"{_API}/paths-info/(?P<revision>[^/]+)", "paths_info"),
    ("GET", rf"/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
    ("POST", r"/api/repos/create", "create"),
    ("POST", rf"{_API}/preupload/(?P<revision>[^/]+)", "preupload"),
    ("POST", rf"/{_REPO}\.git/info/lfs/objects/batch", "lfs_batch"),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", "lfs_put"),
    ("POST", rf"{_API}/commit/(?P<revision>[^/]+)", "send_commit"),
    ("POST", r"/api/validate-yaml", "yaml"),
    ("GET", r"/api/whoami-v2", "whoami"),
)


class Handler(Reading, Uploading):
    """One request; `hub` is set by the server."""

    def do_GET(self) -> None:
        self._route("GET")

    def do_HEAD(self) -> None:
        self._route("HEAD")

    def do_POST(self) -> None:
        self._route("POST")

    def do_PUT(self) -> None:
        self._route("PUT")

    def _route(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.requests.append((method, path))
        verb = "GET" if method == "HEAD" else method
        for route_verb, pattern, answer in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match and route_verb == verb:
                getattr(self, answer)(**match.groupdict())
                return
        self._json({"error": f"no route {method} {path}"}, 404)
