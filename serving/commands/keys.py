"""`serving keys`: make, show and revoke API keys; a running server takes them up within a second."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quantserve.core.console import console, emit_json
from quantserve.core.http.key_commands import create_key, parse_expiry, print_keys, revoke_key
from quantserve.core.http.keys import EVERYTHING
from quantserve.serving.commands import parameters as p
from quantserve.serving.guard.paths import KEY_RULES, SCOPES

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
    key, secret = create_key(
        keys,
        KEY_RULES,
        name,
        models=tuple(model or (EVERYTHING,)),
        endpoints=tuple(endpoint or (EVERYTHING,)),
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        tokens_per_day=tokens_per_day,
        expires=parse_expiry(expires),
    )
    console.print(f"key {name!r} added to {keys}; it is shown now and never again:", markup=False)
    emit_json({"name": name, "id": key.id, "key": secret, "file": str(keys)})


@app.command("list")
def list_keys(keys: FileOption = p.RUN.keys, json_output: p.JsonOption = False) -> None:
    """Show the keys' names, scopes and limits."""
    known = print_keys(keys, KEY_RULES)
    if json_output:
        emit_json({"keys": known})


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Name or id of the key.")], keys: FileOption = p.RUN.keys
) -> None:
    """Take a key back; a running server refuses it within a second."""
    gone, left = revoke_key(keys, KEY_RULES, name)
    console.print(f"key {gone.name!r} revoked", markup=False)
    emit_json({"revoked": name, "left": left})
