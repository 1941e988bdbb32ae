"""A model hub over real HTTP: the part of Hugging Face's protocol that reading, streaming and upload use.

    with FakeHub() as hub:
        hub.put("models", "owner/name", {"config.json": b"{}"})
        subprocess.run(..., env={**os.environ, **hub.environment})

Repositories live in memory. Every commit gets the next 40-digit id; branches and tags are not modelled
beyond `main` and the commits themselves. Large files go up by the LFS protocol, as to a hub without Xet.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

LFS_BYTES = 100
_REPO = r"(?:(?P<prefix>datasets)/)?(?P<id>[^/]+/[^/]+)"
_API = r"/api/(?P<kind>models|datasets)/(?P<id>[^/]+/[^/]+)"


@dataclass
class Repository:
    """Every commit's whole content, oldest first."""

    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)
    private: bool = False

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Return the commit and its files for `main` or a commit id; None when there is no such revision."""
        if revision == "main":
            return self.commits[-1]
        return next((commit for commit in self.commits if commit[0] == revision), None)


class FakeHub:
    """The server; `repositories` is keyed by ("models" or "datasets", id), `requests` is what arrived."""

    token = "hf_fake"

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.requests: list[tuple[str, str]] = []
        self.objects: dict[str, bytes] = {}
        self.cut_downloads = 0
        """So many of the next large downloads break off halfway."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Address of the server, for HF_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to take this server for the hub."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_TOKEN": self.token,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def put(self, kind: str, name: str, files: Mapping[str, bytes]) -> str:
        """Commit `files` over what the repository holds; return the commit's id."""
        repository = self.repositories.setdefault((kind, name), Repository())
        before = repository.commits[-1][1] if repository.commits else {}
        return self.commit(kind, name, {**before, **files})

    def commit(self, kind: str, name: str, files: dict[str, bytes]) -> str:
        """Commit exactly `files`; return the commit's id."""
        repository = self.repositories.setdefault((kind, name), Repository())
        commit = hashlib.sha1(f"{kind} {name} {len(repository.commits)}".encode()).hexdigest()
        repository.commits.append((commit, files))
        return commit

    def files(self, name: str, kind: str = "models") -> dict[str, bytes]:
        """Return what a repository holds now."""
        return self.repositories[kind, name].commits[-1][1]


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

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

    def info(self, kind: str, id: str, revision: str | None = None) -> None:
        """Describe a repository at a revision."""
        found = self._found(kind, id, revision or "main")
        if found:
            siblings = [{"rfilename": name} for name in found[1]]
            facts = {"private": False, "gated": False, "disabled": False, "downloads": 0, "likes": 0}
            self._json({"_id": "0", "id": id, "sha": found[0], "siblings": siblings, "tags": [], **facts})

    def tree(self, kind: str, id: str, revision: str, folder: str | None = None) -> None:
        """List files and folders."""
        found = self._found(kind, id, revision)
        if not found:
            return
        recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() in (
            "true",
            "1",
        )
        start = f"{folder.strip('/')}/" if folder and folder.strip("/") else ""
        entries: dict[str, dict[str, Any]] = {}
        for name, data in found[1].items():
            if not name.startswith(start):
                continue
            head, slash, _ = name[len(start) :].partition("/")
            if slash and not recursive:
                entries[start + head] = {
                    "type": "directory",
                    "path": start + head,
                    "size": 0,
                    "oid": "0" * 40,
                }
            else:
                entries[name] = _entry(name, data)
        if start and not entries:
            self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        else:
            self._json(list(entries.values()))

    def paths_info(self, kind: str, id: str, revision: str) -> None:
        """Describe the paths that the form names."""
        found = self._found(kind, id, revision)
        if found:
            if self.headers.get("Content-Type", "").startswith("application/json"):
                paths = json.loads(self.body)["paths"]
            else:
                paths = parse_qs(self.body.decode()).get("paths", [])
            folders = {str(p).rstrip("/") for p in paths if any(f.startswith(f"{p}/") for f in found[1])}
            self._json(
                [_entry(path, found[1][path]) for path in paths if path in found[1]]
                + [{"type": "directory", "path": p, "oid": "0" * 40} for p in sorted(folders)]
            )

    def resolve(self, prefix: str | None, id: str, revision: str, path: str) -> None:
        """Serve a file, or the range of it that was asked for."""
        found = self._found(prefix or "models", id, revision)
        if not found:
            return
        data = found[1].get(path)
        if data is None:
            self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        headers = {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Repo-Commit": found[0],
            "Accept-Ranges": "bytes",
        }
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if match:
            first, last = int(match[1]), min(int(match[2] or len(data) - 1), len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            self._bytes(data[first : last + 1], 206, headers)
        elif self.command == "GET" and len(data) > LFS_BYTES and self.hub.cut_downloads:
            self.hub.cut_downloads -= 1
            self.send_response(200)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
        else:
            self._bytes(data, 200, headers)

    def create(self) -> None:
        """Create a repository."""
        if not self._authorized():
            return
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        kind = f"{asked.get('type') or 'model'}s"
        if (kind, name) in self.hub.repositories:
            self._json({"error": "You already created this repo", "url": f"{self.hub.url}/{name}"}, 409)
            return
        self.hub.commit(kind, name, {})
        private = asked.get("private") or asked.get("visibility") == "private"
        self.hub.repositories[kind, name].private = bool(private)
        self._json({"url": f"{self.hub.url}/{name}", "id": "0", "name": name})

    def preupload(self, kind: str, id: str, revision: str) -> None:
        """Say which files go up by LFS."""
        if self._authorized() and self._found(kind, id, revision):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["size"] > LFS_BYTES else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(self.body)["files"]
            ]
            self._json({"files": files})

    def lfs_batch(self, prefix: str | None, id: str) -> None:
        """Say where objects go; those held already need no upload."""
        if not self._authorized():
            return
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            upload = {"upload": {"href": f"{self.hub.url}/lfs/{wanted['oid']}"}}
            held = wanted["oid"] in self.hub.objects
            objects.append({**wanted, **({} if held else {"actions": upload})})
        self._json(
            {"transfer": "basic", "objects": objects},
            headers={"Content-Type": "application/vnd.git-lfs+json"},
        )

    def lfs_put(self, oid: str) -> None:
        """Take an object; its name must be its hash."""
        if hashlib.sha256(self.body).hexdigest() != oid:
            self._json({"error": "hash mismatch"}, 400)
            return
        self.hub.objects[oid] = self.body
        self._json({})

    def send_commit(self, kind: str, id: str, revision: str) -> None:
        """Commit uploaded and deleted files."""
        found = self._authorized() and self._found(kind, id, revision)
        if not found:
            return
        files = dict(found[1])
        for line in self.body.decode().splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif operation["key"] == "deletedFile":
                del files[value["path"]]
        commit = self.hub.commit(kind, id, files)
        self._json(
            {"commitUrl": f"{self.hub.url}/{id}/commit/{commit}", "commitOid": commit, "success": True}
        )

    def yaml(self) -> None:
        """Accept every model card."""
        self._json({"errors": [], "warnings": []})

    def whoami(self) -> None:
        """Say whose token it is."""
        if self._authorized():
            self._json({"name": "me", "type": "user", "orgs": []})


def _entry(name: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(data)}
    entry["oid"] = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    if len(data) > LFS_BYTES:
        oid = hashlib.sha256(data).hexdigest()
        entry["lfs"] = {"oid": oid, "sha256": oid, "size": len(data), "pointerSize": 130}
    return entry


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
