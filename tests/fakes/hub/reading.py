"""Reading from the hub: what a repository holds, and its files, whole or in part."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fakes.hub.request import LFS_BYTES, HubRequest, entry


class Reading(HubRequest):
    """Answers to GET, and to the form that asks for several paths."""

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
                entries[name] = entry(name, data)
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
                [entry(path, found[1][path]) for path in paths if path in found[1]]
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
