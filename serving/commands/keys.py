"""`serving keys`: make, show and revoke API keys; a running server takes them up within a second."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.table import Table

from quantserve.core.console import console, emit_json
from quantserve.core.errors import UsageError
from quantserve.core.files import exclusive_lock
from quantserve.serving.commands import parameters as p
from quantserve.serving.guard.keys import (
    EVERYTHING,
    Key,
    KeyFile,
    KeysError,
    digest,
    new_secret,
    read_keys,
    write_keys,
)
from quantserve.serving.guard.paths import SCOPES

app = typer.Typer(help="Make, show and revoke API keys.", no_args_is_help=True)

FileOption = Annotated[Path, typer.Option("--keys", help="The keys file.")]
LimitOption = Annotated[int | None, typer.Option(min=1, help="By default there is no limit.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key this is; stands in the audit log.")],
    model: Annotated[list[str] | None, typer.Option(help="Model it may ask; by default all.")] = None,
    endpoint: Annotated[
        list[str] | None, typer.Option(help=f"Endpoint it may use: {', '.join(SCOPES)}. By default all.")
    ] = None,
    requests_per_minute: LimitOption = None,
    tokens_per_minute: LimitOption = None,
    tokens_per_day: LimitOption = None,
    expires: Annotated[str | None, typer.Option(help="After 30d or 12h, or on 2027-01-31.")] = None,
    keys: FileOption = p.RUN.keys,
) -> None:
    """Make a key and print it, once: only its hash is stored."""
    identity, secret = new_secret()
    now = datetime.now(UTC)
    try:
        key = Key(
            id=identity,
            name=name,
            sha256=digest(secret),
            models=tuple(model or (EVERYTHING,)),
            endpoints=tuple(endpoint or (EVERYTHING,)),
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            tokens_per_day=tokens_per_day,
            expires=parse_expiry(expires, now),
            created=now.replace(microsecond=0),
        )
    except ValidationError as error:
        raise UsageError(str(error.errors()[0]["msg"])) from error
    with _locked(keys):
        known = read_keys(keys) if keys.is_file() else KeyFile()
        if any(other.name == name for other in known.keys):
            raise KeysError(
                f"{keys} has a key named {name!r}", mend="Revoke it first, or choose another name"
            )
        write_keys(keys, KeyFile(keys=(*known.keys, key)))
    console.print(f"key {name!r} added to {keys}; it is shown now and never again:", markup=False)
    emit_json({"name": name, "id": identity, "key": secret, "file": str(keys)})


@app.command("list")
def list_keys(keys: FileOption = p.RUN.keys, json_output: p.JsonOption = False) -> None:
    """Show the keys' names, scopes and limits."""
    known = read_keys(keys).keys
    if json_output:
        emit_json({"keys": [key.model_dump(mode="json", exclude={"sha256"}) for key in known]})
        return
    table = Table(
        "name", "id", "models", "endpoints", "requests/min", "tokens/min", "tokens/day", "expires", box=None
    )
    now = datetime.now(UTC)
    for key in known:
        limits = (key.requests_per_minute, key.tokens_per_minute, key.tokens_per_day)
        date = "never" if key.expires is None else f"{key.expires:%Y-%m-%d %H:%M}"
        table.add_row(
            key.name,
            key.id,
            ", ".join(key.models),
            ", ".join(key.endpoints),
            *("-" if limit is None else str(limit) for limit in limits),
            f"{date} (expired)" if key.expired(now) else date,
        )
    console.print(table)


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Name or id of the key.")], keys: FileOption = p.RUN.keys
) -> None:
    """Take a key back; a running server refuses it within a second."""
    with _locked(keys):
        known = read_keys(keys).keys
        kept = tuple(key for key in known if name not in (key.name, key.id))
        if len(kept) == len(known):
            raise KeysError(f"{keys} has no key {name!r}", mend="quantserve serving keys list shows them")
        write_keys(keys, KeyFile(keys=kept))
    console.print(f"key {name!r} revoked", markup=False)
    emit_json({"revoked": name, "left": len(kept)})


def parse_expiry(text: str | None, now: datetime) -> datetime | None:
    """Read `30d`, `12h` or an ISO date (midnight UTC) or time.

    Raises:
        UsageError: it is none of these, or past.
    """
    if text is None:
        return None
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


def _locked(path: Path) -> AbstractContextManager[None]:
    return exclusive_lock(path.with_name(f".{path.name}.lock"), "changing the keys", private=True)
