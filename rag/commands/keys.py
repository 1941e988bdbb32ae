"""`rag keys`: who may use the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quantserve.core.console import console, emit_json, emit_text
from quantserve.core.terminal import one_line
from quantserve.rag.commands import parameters as p
from quantserve.rag.server.config import DEFAULT_KEYS_FILE, key_rules

keys = typer.Typer(help="Keys of `rag serve`: create, list, revoke.", no_args_is_help=True)
FileOption = Annotated[Path, typer.Option("--keys", envvar="RAG_KEYS", help="The keys file.")]


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="Who it is for.")],
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="By default there is no limit.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="After 30d or 12h, or on 2027-01-31.")] = None,
    file: FileOption = DEFAULT_KEYS_FILE,
    json_output: p.JsonOption = False,
) -> None:
    """Make a key and print it, this once; only its hash is kept. A running server takes it up."""
    from quantserve.core.http.key_commands import create_key, parse_expiry

    limits = {"requests_per_minute": requests_per_minute, "expires": parse_expiry(expires)}
    _, secret = create_key(file, key_rules(), name, **limits)
    if json_output:
        emit_json({"name": name, "key": secret, "file": str(file)})
    else:
        emit_text(secret)


@keys.command("list")
def list_keys(file: FileOption = DEFAULT_KEYS_FILE, json_output: p.JsonOption = False) -> None:
    """List the keys, without what they are."""
    from quantserve.core.http.key_commands import print_keys

    known = print_keys(file, key_rules())
    if json_output:
        emit_json({"keys": known})


@keys.command()
def revoke(
    which: Annotated[str, typer.Argument(help="The key's id or name.")],
    file: FileOption = DEFAULT_KEYS_FILE,
    json_output: p.JsonOption = False,
) -> None:
    """Take a key out; a running server refuses it within a second."""
    from quantserve.core.http.key_commands import revoke_key

    gone, _ = revoke_key(file, key_rules(), which)
    console.print(f"revoked: {one_line(gone.name)} ({gone.id})")
    if json_output:
        emit_json({"id": gone.id, "name": gone.name})
