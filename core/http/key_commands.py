"""The commands that make, show and revoke keys, for each server that asks for some: what they do and print.

Which options there are, and what they are called, is the server's own command line's to say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.table import Table

from quantserve.core.console import console
from quantserve.core.errors import UsageError
from quantserve.core.http.keys import LIMITS, Key, KeyRules, read_keys
from quantserve.core.terminal import one_line

_COLUMNS = {
    "requests_per_minute": "requests/min",
    "tokens_per_minute": "tokens/min",
    "tokens_per_day": "tokens/day",
}


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
