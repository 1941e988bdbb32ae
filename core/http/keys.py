"""API keys: stored hashed, read again when their file changes. One file format for every server of ours.

A key is `PREFIX-ID-SECRET`: eight hex digits that find its entry, and 32 random bytes in base64url. Only the
SHA-256 of the whole is stored. A slow hash (bcrypt, Argon2) guards guessable passwords; 256 random bits
cannot be guessed at any speed, so a fast hash loses nothing and costs a request no time. The entry is found
by the public part, so the one comparison of hashes, in constant time, says nothing about other keys.

What an entry may be limited by differs from server to server (`KeyRules`): one that says more than its server
heeds is refused when the file is read, since it would open more than it says.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from quantserve.core.errors import InputError, UsageError
from quantserve.core.files import write_json
from quantserve.core.http.origin import is_loopback
from quantserve.core.http.refusal import Refusal

EVERYTHING = "*"
_DUMMY = hashlib.sha256(b"no key").hexdigest()
_CHECK_EVERY_S = 0.5


class KeysError(InputError):
    """The keys file cannot be used as it is."""


@dataclass(frozen=True)
class KeyRules:
    """The keys of one kind of server."""

    prefix: str
    """What its keys begin with."""
    command: str
    """The command that makes, lists and revokes them."""
    limits: frozenset[str]
    """Fields of an entry, among those that limit a key, which the server heeds."""
    scopes: tuple[str, ...] = ()
    """Endpoints by which `endpoints` can limit a key."""


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

    @field_validator("expires", "created")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value

    def expired(self, now: datetime) -> bool:
        """Whether the key is past its date."""
        return self.expires is not None and now >= self.expires

    def may_use(self, endpoint: str, *, by_name_only: bool = False) -> bool:
        """Whether the endpoint is in its scope; `by_name_only`: a key for everything does not cover it."""
        return endpoint in self.endpoints or (EVERYTHING in self.endpoints and not by_name_only)

    def may_ask(self, model: str) -> bool:
        """Whether the model is in its scope."""
        return EVERYTHING in self.models or model in self.models

    def require_heeded(self, rules: KeyRules) -> None:
        """Refuse an entry that limits its key by what the server does not heed.

        Raises:
            KeysError: it does; or it names an endpoint that is none.
        """
        for name, default in LIMITS.items():
            if getattr(self, name) != default and name not in rules.limits:
                heeded = ", ".join(sorted(rules.limits))
                raise KeysError(
                    f"the key {self.name!r} is limited by {name}, which this server does not heed",
                    mend=f"Leave it out; heeded are {heeded}",
                )
        for name in self.endpoints:
            if name not in (EVERYTHING, *rules.scopes):
                raise KeysError(
                    f"{name!r} is no endpoint",
                    mend=f"Known: {', '.join(rules.scopes)}",
                )


LIMITS: Mapping[str, Any] = {
    name: Key.model_fields[name].default
    for name in Key.model_fields
    if not Key.model_fields[name].is_required()
}
"""Fields that limit a key, each with the value that does not."""


class KeyFile(BaseModel):
    """The file: JSON as the command line writes it, or YAML written by hand."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Annotated[int, Field(ge=1, le=1)] = 1
    keys: tuple[Key, ...] = ()


def digest(key: str) -> str:
    """Return what is stored of a key."""
    return hashlib.sha256(key.encode("utf-8", errors="surrogateescape")).hexdigest()


def read_keys(path: Path, rules: KeyRules) -> KeyFile:
    """Read a keys file.

    Raises:
        KeysError: it is missing, not YAML or JSON, or an entry is wrong.
    """
    try:
        data = _parse(path)
        found = KeyFile.model_validate(data if data is not None else {})
        for key in found.keys:
            key.require_heeded(rules)
    except FileNotFoundError as error:
        raise KeysError(
            f"there is no keys file {path}", mend=f"Make one: {rules.command} create NAME --keys {path}"
        ) from error
    except OSError as error:
        raise KeysError(f"{path} cannot be read: {error.strerror}", mend="Mend it") from error
    except ValidationError as error:
        raise KeysError(f"{path}: {first_problem(error)}", mend="Mend the entry") from error
    except KeysError as error:
        raise KeysError(f"{path}: {error.problem}", mend=error.mend) from error
    return found


def _parse(path: Path) -> Any:
    """Read JSON, which is quick, or YAML.

    Raises:
        KeysError: it is neither.
    """
    try:
        text = path.read_text(encoding="utf-8")
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            import yaml
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise KeysError(f"it cannot be read: {str(error).splitlines()[0]}", mend="Mend it") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise KeysError("it cannot be read: it is no text of keys", mend="Mend it") from error


def first_problem(error: ValidationError) -> str:
    """Return the first thing that is wrong with an entry, and where it stands."""
    found = error.errors()[0]
    return f"{'.'.join(str(part) for part in found['loc'])}: {found['msg']}"


def write_keys(path: Path, keys: Iterable[Key]) -> None:
    """Replace the file atomically; a running server reads it within a second."""
    write_json(path, KeyFile(keys=tuple(keys)).model_dump(mode="json"), private=True)


def require_keys_beyond_loopback(host: str, keys_file: str | Path | None, *, danger: str, mend: str) -> None:
    """Refuse to listen to other machines without keys; `danger` is what anyone could do then.

    Raises:
        UsageError: in one line with the way out.
    """
    if keys_file is None and not is_loopback(host):
        raise UsageError(
            f"refusing to listen on {host or 'every address'} without keys: anyone could {danger}", mend=mend
        )


class KeyRing:
    """The keys of a running server.

    A file that is lost or damaged later changes nothing until it is mended.
    """

    def __init__(self, path: Path, rules: KeyRules, check_every_s: float = _CHECK_EVERY_S) -> None:
        """Read the file, which must be good now.

        Raises:
            KeysError: it is not.
        """
        self._path, self._rules = path, rules
        self._check_every_s = check_every_s
        self._checked = float("-inf")
        self._stamp = self._stamp_now()
        self._by_id = {key.id: key for key in read_keys(path, rules).keys}
        self.problem = ""
        """Why the file as it is now could not be read; the keys before it stay in force."""

    def _stamp_now(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def refresh(self, now: float) -> None:
        """Read the file again if it changed; `now` is any monotonic clock in seconds."""
        if now - self._checked < self._check_every_s:
            return
        self._checked = now
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._by_id = {key.id: key for key in read_keys(self._path, self._rules).keys}
            self.problem = ""
        except KeysError as error:
            self.problem = str(error)

    def find(self, presented: str) -> Key | None:
        """Return the key that was presented, None when it is none of ours."""
        parts = presented.split("-", 2)
        key = self._by_id.get(parts[1]) if len(parts) == 3 else None
        same = hmac.compare_digest(digest(presented), key.sha256 if key is not None else _DUMMY)
        return key if same else None

    def identify(self, presented: str, now: float) -> Key:
        """Return the key that was presented, by the file as it is now.

        Raises:
            Refusal: 401, there is none, or it is none of ours.
        """
        self.refresh(now)
        if not presented:
            raise Refusal(401, "no_key", "this server asks for a key: Authorization: Bearer KEY")
        key = self.find(presented)
        if key is None:
            raise Refusal(401, "wrong_key", "this key is not known here")
        return key


def require_unexpired(key: Key) -> None:
    """Refuse a key that is past its date.

    Raises:
        Refusal: 401.
    """
    if key.expires is not None and key.expired(datetime.now(UTC)):
        raise Refusal(401, "expired_key", "this key has expired")


def presented_key(headers: Mapping[bytes, bytes]) -> str:
    """Return the key a request presents, in OpenAI's header or in Anthropic's; "" without one."""
    scheme, _, shown = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return shown.strip()
    return headers.get(b"x-api-key", b"").decode("latin-1").strip()
