"""`serving restart`: the same server again, from where its target points now."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quantserve.core.console import console
from quantserve.core.errors import UsageError
from quantserve.serving.background import request_options, start, stop
from quantserve.serving.commands import parameters as p
from quantserve.serving.commands.up import report
from quantserve.serving.config import RunDirectory
from quantserve.serving.errors import NotRunning
from quantserve.serving.prepare import resolved_target
from quantserve.serving.replicas.control import ask_to_roll
from quantserve.serving.state import read_state


def restart(
    target: Annotated[
        Path | None, typer.Argument(help="Another target; by default the one it was given, followed anew.")
    ] = None,
    rolling: Annotated[
        bool, typer.Option("--rolling", help="Replace replicas one by one; no request fails.")
    ] = False,
    run_dir: p.RunDirOption = p.RUN.path,
) -> None:
    """Start the background server anew with the options it has; running requests finish first."""
    run = RunDirectory(run_dir)
    with run.changing():
        running = read_state(run.state)
        if running is None:
            raise NotRunning("no server is running", mend="Start one: quantserve serving up TARGET")
        chosen = target or Path(running.given_target or running.target)
        if rolling:
            if not running.replicas:
                raise UsageError(
                    "one server alone cannot be replaced without a pause",
                    mend="Run it with --replicas 2, or leave out --rolling",
                )
            report(ask_to_roll(running, chosen, run), "is up on every replica")
            return
        options = request_options(running)
        # Refuse what cannot work while the old one still serves; its memory is not free yet, so no plan.
        resolved_target(chosen, options, run)
        console.print(f"stopping {running.model} {running.version or ''} (running requests finish)")
        stop(running)
        report(start(chosen, options, run, p.LAUNCHER.ready_timeout_s), "is up again")
