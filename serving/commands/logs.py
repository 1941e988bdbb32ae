"""`serving logs`: show or follow the background server's log."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from serving.commands import parameters as p
from serving.config import RunDirectory
from serving.errors import NotRunning
from serving.logs import follow, read_tail


def logs(
    follow_it: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="Lines from the end.")] = 50,
    run_dir: p.RunDirOption = p.RUN.path,
) -> None:
    """Show the end of the server's log, or follow it with -f."""
    run = RunDirectory(run_dir)
    if not run.log.is_file():
        raise NotRunning(f"there is no log at {run.log}", mend="Start a server: python -m serving up TARGET")
    tail = read_tail(run.log).splitlines()[-lines:]
    sys.stdout.write("\n".join(tail) + "\n")
    sys.stdout.flush()
    if follow_it:
        for text in follow(run.log, from_end=True):
            sys.stdout.write(text)
            sys.stdout.flush()
