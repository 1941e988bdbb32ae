"""What `quantserve up` can be told: each option with its one default. `make up` passes its variables on."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated

import typer

from quantserve.core.errors import UsageError
from quantserve.core.home import CHECKOUT, shipped
from quantserve.deploy.local.environments import accelerator
from quantserve.quantize.config import DEFAULT_MODEL
from quantserve.quantize.methods.registry import METHOD_FOR, METHODS

PLACES = ("local",)
_DEFAULTS = ", ".join(f"{name} for {target}" for target, name in METHOD_FOR.items())


@dataclass(frozen=True)
class UpOptions:
    """The options of `up`, and of every command that stands for some of its stages."""

    model: Annotated[str, typer.Option(help="Hub id or checkpoint directory; default: the bundled one")] = ""
    method: Annotated[
        str,
        typer.Option(help=f"{', '.join(METHODS)}; default: {_DEFAULTS}"),
    ] = ""
    quantize: Annotated[str, typer.Option(help="Further options of quantserve quantize run")] = ""
    gate: Annotated[str, typer.Option(help="Further options of quantserve quantize gate")] = ""
    host: Annotated[str, typer.Option(help="Address where the OpenAI API is served")] = "127.0.0.1"
    port: Annotated[int, typer.Option(help="Its port")] = 8000
    serve: Annotated[str, typer.Option(help="Further options of quantserve serving up")] = ""
    docs: Annotated[
        str, typer.Option(help="Files and folders to index, parted by blanks; default: the shipped samples")
    ] = ""
    embedding_model: Annotated[
        str, typer.Option(help="Hub id or directory; default: the bundled E5-small")
    ] = ""
    to: Annotated[str, typer.Option(help="Where to deploy: local is this machine")] = "local"
    question: Annotated[str, typer.Option(help="What the last stage asks")] = (
        "Why does the CPU profile run in eager mode?"
    )
    accel: Annotated[str, typer.Option(help="cpu or cuda; default: what this machine has")] = ""

    @property
    def name(self) -> str:
        """The artifact's name: the model's last path component."""
        return PurePath(self.model).name if self.model else DEFAULT_MODEL

    @property
    def documents(self) -> list[Path]:
        """What is indexed; in a checkout names are relative to it, as those of make are."""
        if not self.docs:
            return [shipped("samples") / "documents"]
        return [Path(CHECKOUT or "", name) for name in shlex.split(self.docs)]

    @property
    def base_url(self) -> str:
        """The OpenAI API's base URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/v1"


def check(options: UpOptions) -> None:
    """Refuse what cannot be right, before anything is started.

    Raises:
        UsageError: method, place, port, accelerator or the quotation marks of another.
    """
    accelerator(options.accel)
    if options.method and options.method not in METHODS:
        raise UsageError(f"--method {options.method} is unknown", mend=f"Use one of: {', '.join(METHODS)}")
    if options.to not in PLACES:
        raise UsageError(f"--to {options.to} is unknown", mend=f"Use one of: {', '.join(PLACES)}")
    if not 1 <= options.port <= 65535:
        raise UsageError(f"--port {options.port} is no port", mend="Use a number from 1 to 65535")
    for name in ("quantize", "gate", "serve", "docs"):
        try:
            shlex.split(getattr(options, name))
        except ValueError as error:
            raise UsageError(
                f"--{name} {getattr(options, name)} cannot be read: {error}",
                mend="Close the quotation mark, or write a backslash before it",
            ) from error


def require_documents(options: UpOptions) -> None:
    """Refuse documents that are not there, before the minutes of work that come before the index.

    Raises:
        UsageError: a name is neither a file nor a folder.
    """
    for path in options.documents:
        if not path.exists():
            raise UsageError(
                f"--docs: {path} does not exist", mend="Name files and folders, parted by blanks"
            )
