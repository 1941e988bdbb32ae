"""Making, showing and revoking keys, for the command line of each server that asks for some.

Which options there are, and what they are called, is the server's own command line's to say.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.table import Table

from quantserve.core.console import console
from quantserve.core.errors import UsageError
from quantserve.core.files import exclusive_lock
from quantserve.core.http.keys import (
    LIMITS,
    Key,
    KeyRules,
    KeysError,
    digest,
    first_problem,
    read_keys,
    write_keys,
)
from quantserve.core.terminal import one_line

_COLUMNS = {
    "requests_per_minute": "requests/min",
    "tokens_per_minute": "tokens/min",
    "tokens_per_day": "tokens/day",
}


def new_key(rules: KeyRules, name: str, **limits: Any) -> tuple[Key, str]:
    """Return the entry of a fresh key, and the key itself, which is stored nowhere.

    Raises:
        UsageError: the name or a limit is none.
    """
    identity = secrets.token_hex(4)
    secret = f"{rules.prefix}-{identity}-{secrets.token_urlsafe(32)}"
    entry = {
        "id": identity,
        "name": name,
        "sha256": digest(secret),
        "created": datetime.now(UTC).replace(microsecond=0),
    }
    try:
        key = Key.model_validate({**entry, **limits})
    except ValidationError as error:
        raise UsageError(first_problem(error)) from error
    try:
        key.require_heeded(rules)
    except KeysError as error:
        raise UsageError(error.problem, mend=error.mend) from error
    return key, secret


def _changing(path: Path) -> AbstractContextManager[None]:
    return exclusive_lock(path.with_name(f".{path.name}.lock"), "changing the keys", private=True)


def create_key(path: Path, rules: KeyRules, name: str, **limits: Any) -> tuple[Key, str]:
    """Add a key to the file; return its entry and the key, which is shown this once.

    Raises:
        UsageError: the name or a limit is none.
        KeysError: the file cannot be used, or has a key of that name, by which the log would tell them apart.
    """
    key, secret = new_key(rules, name, **limits)
    with _changing(path):
        known = read_keys(path, rules).keys if path.is_file() else ()
        if any(other.name == name for other in known):
            raise KeysError(
                f"{path} has a key named {name!r}", mend="Revoke it first, or choose another name"
            )
        write_keys(path, (*known, key))
    return key, secret


def revoke_key(path: Path, rules: KeyRules, which: str) -> tuple[Key, int]:
    """Take the key with this id or name out of the file; return it and how many are left.

    Raises:
        KeysError: the file cannot be used, there is none, or several have the name.
    """
    with _changing(path):
        keys = read_keys(path, rules).keys
        found = [key for key in keys if which in (key.id, key.name)]
        if len(found) != 1:
            problem = f"{len(found)} keys are called {which}" if found else f"no key is called {which}"
            raise KeysError(problem, mend=f"See them: {rules.command} list --keys {path}")
        rest = [key for key in keys if key is not found[0]]
        write_keys(path, rest)
    return found[0], len(rest)


def print_keys(path: Path, rules: KeyRules) -> list[dict[str, object]]:
    """Print a table of the keys' names, scopes and limits; return the same for programs, without the hashes.

    Raises:
        KeysError: the file cannot be used.
    """
    known = read_keys(path, rules).keys
    shown = [name for name in LIMITS if name in rules.limits]
    table = Table("name", "id", *(_COLUMNS.get(name, name) for name in shown), "created", box=None)
    now = datetime.now(UTC)
    for key in known:
        limits = [_date_of(key, now) if name == "expires" else _words(getattr(key, name)) for name in shown]
        table.add_row(one_line(key.name), key.id, *limits, f"{key.created:%Y-%m-%d %H:%M}")
    console.print(table)
    return [key.model_dump(mode="json", exclude={"sha256"}) for key in known]


def _words(limit: int | Sequence[str] | None) -> str:
    return "-" if limit is None else str(limit) if isinstance(limit, int) else ", ".join(limit)


def _date_of(key: Key, now: datetime) -> str:
    date = "never" if key.expires is None else f"{key.expires:%Y-%m-%d %H:%M}"
    return f"{date} (expired)" if key.expired(now) else date


def parse_expiry(text: str | None, now: datetime | None = None) -> datetime | None:
    """Read `30d`, `12h` or an ISO date (midnight UTC) or time.

    Raises:
        UsageError: it is none of these, or past.
    """
    if text is None:
        return None
    now = now or datetime.now(UTC)
    span = re.fullmatch(r"(\d{1,5})([dh])", text)
    if span is not None:
        count = int(span[1])
        return (now + (timedelta(days=count) if span[2] == "d" else timedelta(hours=count))).replace(
            microsecond=0
        )
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no date", mend="Write 30d, 12h or 2027-01-31") from error
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when
    if when <= now:
        raise UsageError(f"{text} is past", mend="Give a date to come")
    return when
