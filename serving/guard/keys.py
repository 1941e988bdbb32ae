"""API keys: made here, stored hashed, read again when their file changes.

A key is `qs-ID-SECRET`: eight hex digits that find its entry, and 32 random bytes in base64url. Only the
SHA-256 of the whole is stored. A slow hash (bcrypt, Argon2) guards guessable passwords; 256 random bits
cannot be guessed at any speed, so a fast hash loses nothing and costs a request no time. The entry is found
by the public part, so the one comparison of hashes, in constant time, says nothing about other keys.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from quantserve.core.errors import InputError
from quantserve.core.files import write_json
from quantserve.serving.guard.paths import BY_NAME_ONLY, SCOPES

EVERYTHING = "*"
_DUMMY = hashlib.sha256(b"no key").hexdigest()


class KeysError(InputError):
    """The keys file cannot be used as it is."""


Positive = Annotated[int, Field(ge=1)] | None


class Key(BaseModel):
    """One key's entry. None means no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[0-9a-f]{8}$")
    name: str = Field(min_length=1, max_length=64)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    models: tuple[str, ...] = (EVERYTHING,)
    endpoints: tuple[str, ...] = (EVERYTHING,)
    requests_per_minute: Positive = None
    tokens_per_minute: Positive = None
    tokens_per_day: Positive = None
    expires: datetime | None = None
    created: datetime

    @field_validator("endpoints")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in (EVERYTHING, "extra", *SCOPES):
                raise ValueError(f"{name!r} is no endpoint; known: {', '.join(SCOPES)}")
        return value

    @field_validator("expires", "created")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value

    def expired(self, now: datetime) -> bool:
        """Whether the key is past its date."""
        return self.expires is not None and now >= self.expires

    def may_use(self, endpoint: str) -> bool:
        """Whether the endpoint is in its scope."""
        everything = EVERYTHING in self.endpoints and endpoint not in BY_NAME_ONLY
        return everything or endpoint in self.endpoints

    def may_ask(self, model: str) -> bool:
        """Whether the model is in its scope."""
        return EVERYTHING in self.models or model in self.models


class KeyFile(BaseModel):
    """The file: JSON as the command line writes it, or YAML written by hand."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Annotated[int, Field(ge=1, le=1)] = 1
    keys: tuple[Key, ...] = ()


def now_utc() -> datetime:
    """Return the time, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def digest(key: str) -> str:
    """Return what is stored of a key."""
    return hashlib.sha256(key.encode("utf-8", errors="surrogateescape")).hexdigest()


def new_secret() -> tuple[str, str]:
    """Return (id, key) of a fresh key."""
    identity = secrets.token_hex(4)
    return identity, f"qs-{identity}-{secrets.token_urlsafe(32)}"


def read_keys(path: Path) -> KeyFile:
    """Read a keys file.

    Raises:
        KeysError: it is missing, not YAML or JSON, or an entry is wrong.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        return KeyFile.model_validate(data if data is not None else {})
    except FileNotFoundError as error:
        raise KeysError(
            f"there is no keys file {path}",
            mend=f"Make one: quantserve serving keys create NAME --keys {path}",
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise KeysError(f"{path} cannot be read: {str(error).splitlines()[0]}", mend="Mend it") from error
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(str(part) for part in found["loc"])
        raise KeysError(f"{path}: {where}: {found['msg']}", mend="Mend the entry") from error


def write_keys(path: Path, keys: KeyFile) -> None:
    """Replace the file atomically; a running server reads it within a second."""
    write_json(path, keys.model_dump(mode="json"), private=True)


class KeyRing:
    """The keys of a running server."""

    def __init__(self, path: Path, check_every_s: float = 0.5) -> None:
        """Read the file, which must be good now.

        Raises:
            KeysError: it is not.
        """
        self._path = path
        self._check_every_s = check_every_s
        self._checked = float("-inf")
        self._stamp = self._look()
        self._by_id = {key.id: key for key in read_keys(path).keys}
        self.problem: str | None = None
        """Why the file as it is now could not be read; the keys before it stay in force."""

    def _look(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def refresh(self, now: float) -> None:
        """Read the file again if it changed; `now` is any monotonic clock in seconds.

        A file that vanished or is damaged changes nothing: the keys stay in force until a good one comes.
        """
        if now - self._checked < self._check_every_s:
            return
        self._checked = now
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._by_id = {key.id: key for key in read_keys(self._path).keys}
            self.problem = None
        except KeysError as error:
            self.problem = str(error)

    def find(self, presented: str) -> Key | None:
        """Return the key that was presented, None when it is none of ours."""
        parts = presented.split("-", 2)
        key = self._by_id.get(parts[1]) if len(parts) == 3 else None
        same = hmac.compare_digest(digest(presented), key.sha256 if key is not None else _DUMMY)
        return key if same else None
