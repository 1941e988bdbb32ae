"""Writing to the hub: a repository is made, objects go up, a commit names them."""

from __future__ import annotations

import base64
import hashlib
import json

from tests.fakes.hub.request import LFS_BYTES, HubRequest


class Uploading(HubRequest):
    """Answers to POST and PUT, for those with the token."""

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
