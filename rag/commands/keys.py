"""`rag keys`: who may use the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quantserve.core.console import console, emit_json
from quantserve.core.terminal import one_line
from quantserve.rag.commands import parameters as p
from quantserve.rag.server.config import DEFAULT_KEYS_FILE

keys = typer.Typer(help="Keys of `rag serve`: create, list, revoke.", no_args_is_help=True)
FileOption = Annotated[Path, typer.Option("--keys", envvar="RAG_KEYS", help="The keys file.")]


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="Who it is for.")],
    file: FileOption = DEFAULT_KEYS_FILE,
    json_output: p.JsonOption = False,
) -> None:
    """Make a key and print it, this once; only its hash is kept. A running server takes it up."""
    from quantserve.rag.server.keys import create_key

    secret = create_key(file, name)
    if json_output:
        emit_json({"name": name, "key": secret, "file": str(file)})
    else:
        typer.echo(secret)


@keys.command("list")
def list_keys(file: FileOption = DEFAULT_KEYS_FILE, json_output: p.JsonOption = False) -> None:
    """List the keys, without what they are."""
    from rich.table import Table

    from quantserve.rag.server.keys import read_keys

    found = read_keys(file).keys
    table = Table("id", "name", "created", box=None, header_style="bold", pad_edge=False)
    for key in found:
        table.add_row(key.id, one_line(key.name), key.created.isoformat())
    console.print(table)
    if json_output:
        emit_json({"keys": [key.model_dump(mode="json", exclude={"sha256"}) for key in found]})


@keys.command()
def revoke(
    which: Annotated[str, typer.Argument(help="The key's id or name.")],
    file: FileOption = DEFAULT_KEYS_FILE,
    json_output: p.JsonOption = False,
) -> None:
    """Take a key out; a running server refuses it within a second."""
    from quantserve.rag.server.keys import revoke_key

    gone = revoke_key(file, which)
    console.print(f"revoked: {one_line(gone.name)} ({gone.id})")
    if json_output:
        emit_json({"id": gone.id, "name": gone.name})
