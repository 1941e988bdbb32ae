"""`serving logs`: show or follow the background server's log."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from quantserve.core.console import emit_piece
from quantserve.core.errors import UsageError
from quantserve.core.logs import follow, read_tail
from quantserve.serving.commands import parameters as p
from quantserve.serving.config import RunDirectory
from quantserve.serving.errors import NotRunning


def logs(
    follow_it: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="Lines from the end.")] = 50,
    of: Annotated[
        str | None, typer.Option(help="With replicas: replica-1, replica-2, …", show_default=False)
    ] = None,
    run_dir: p.RunDirOption = p.RUN.path,
) -> None:
    """Show the end of the server's log, or follow it with -f."""
    log = log_of(RunDirectory(run_dir), of)
    if not log.is_file():
        raise NotRunning(f"there is no log at {log}", mend="Start a server: quantserve serving up TARGET")
    tail = read_tail(log).splitlines()[-lines:]
    emit_piece("\n".join(tail) + "\n")
    if follow_it:
        for text in follow(log, from_end=True):
            emit_piece(text.replace("\r", "\n"))


def log_of(run: RunDirectory, part: str | None) -> Path:
    """Return the log of a part, by default of the server or, with replicas, of their supervisor.

    Raises:
        UsageError: the part is no replica.
    """
    if part is None:
        return run.log
    if re.fullmatch(r"replica-\d{1,4}", part) is None:
        raise UsageError(f"--of {part!r} is no part", mend="Use replica-1, replica-2, …")
    return RunDirectory(run.path / part).log
