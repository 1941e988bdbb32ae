"""API keys: made here, stored hashed, read again when their file changes.

A key is `rag-ID-SECRET`: eight hex digits that find its entry, and 32 random bytes in base64url. Only the
SHA-256 of the whole is stored: 256 random bits cannot be guessed at any speed, so a slow hash would only
cost every request its time. The entry is found by the public part; the one comparison is in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quantserve.core.errors import InputError, UsageError
from quantserve.core.files import write_json
from quantserve.core.origin import is_loopback

_DUMMY = hashlib.sha256(b"no key").hexdigest()
_CHECK_EVERY_S = 0.5


class KeysError(InputError):
    """The keys file cannot be used as it is."""


class Key(BaseModel):
    """One key's entry."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[0-9a-f]{8}$")
    name: str = Field(min_length=1, max_length=64)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created: datetime


class KeyFile(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    keys: tuple[Key, ...] = ()


def digest(key: str) -> str:
    """Return what is stored of a key."""
    return hashlib.sha256(key.encode("utf-8", errors="surrogateescape")).hexdigest()


def read_keys(path: Path) -> KeyFile:
    """Read a keys file.

    Raises:
        KeysError: it is missing, not JSON, or an entry is wrong.
    """
    try:
        return KeyFile.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise KeysError(
            f"there is no keys file {path}", mend=f"Make one: quantserve rag keys create NAME --keys {path}"
        ) from error
    except OSError as error:
        raise KeysError(f"{path} cannot be read: {error.strerror}", mend="Mend it") from error
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(str(part) for part in found["loc"])
        raise KeysError(f"{path}: {where}: {found['msg']}", mend="Mend the entry") from error


def create_key(path: Path, name: str) -> str:
    """Add a key to the file and return it; it is shown this once."""
    before = read_keys(path) if path.exists() else KeyFile()
    identity = secrets.token_hex(4)
    secret = f"rag-{identity}-{secrets.token_urlsafe(32)}"
    now = datetime.now(UTC).replace(microsecond=0)
    key = Key(id=identity, name=name, sha256=digest(secret), created=now)
    write_json(path, KeyFile(keys=(*before.keys, key)).model_dump(mode="json"), private=True)
    return secret


def revoke_key(path: Path, which: str) -> Key:
    """Take the key with this id or name out of the file.

    Raises:
        KeysError: there is none, or several have the name.
    """
    keys = read_keys(path).keys
    found = [key for key in keys if which in (key.id, key.name)]
    if len(found) != 1:
        problem = f"{len(found)} keys are called {which}" if found else f"no key is called {which}"
        raise KeysError(problem, mend=f"See them: quantserve rag keys list --keys {path}")
    rest = tuple(key for key in keys if key is not found[0])
    write_json(path, KeyFile(keys=rest).model_dump(mode="json"), private=True)
    return found[0]


def require_keys(host: str, keys_file: Path | None) -> None:
    """Refuse to listen to other machines without keys.

    Raises:
        UsageError: in one line with the mend.
    """
    if keys_file is None and not is_loopback(host):
        raise UsageError(
            f"refusing to listen on {host or 'every address'} without keys: anyone could read the documents",
            mend="Make one with quantserve rag keys create NAME, or use --host 127.0.0.1",
        )


class KeyRing:
    """The keys of a running server. A file that is damaged later changes nothing until it is mended."""

    def __init__(self, path: Path) -> None:
        """Read the file, which must be good now.

        Raises:
            KeysError: it is not.
        """
        self._path = path
        self._checked = time.monotonic()
        self._stamp = self._look()
        self._by_id = {key.id: key for key in read_keys(path).keys}
        self.problem = ""

    def _look(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._checked < _CHECK_EVERY_S:
            return
        self._checked = now
        if (stamp := self._look()) == self._stamp:
            return
        self._stamp = stamp
        try:
            self._by_id = {key.id: key for key in read_keys(self._path).keys}
            self.problem = ""
        except KeysError as error:
            self.problem = str(error)

    def find(self, presented: str) -> Key | None:
        """Return the key that was presented, None when it is none of ours."""
        self._refresh()
        parts = presented.split("-", 2)
        key = self._by_id.get(parts[1]) if len(parts) == 3 else None
        same = hmac.compare_digest(digest(presented), key.sha256 if key is not None else _DUMMY)
        return key if same else None
