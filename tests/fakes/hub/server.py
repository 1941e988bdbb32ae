"""The hub itself: its repositories and its address."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Self

from tests.fakes.hub.routes import Handler


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
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": self}))
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
