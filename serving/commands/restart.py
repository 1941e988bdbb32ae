"""`serving restart`: drain the background server and start it again as it was asked for."""

from __future__ import annotations

from pathlib import Path

from core.console import console
from core.files import exclusive_lock
from serving.background import request_options, start, stop
from serving.commands import parameters as p
from serving.commands.up import report
from serving.config import RunDirectory
from serving.errors import NotRunning
from serving.state import read_state
from serving.target import resolve_target


def restart(run_dir: p.RunDirOption = p.RUN.path) -> None:
    """Drain the background server, then start it again with the same request."""
    run = RunDirectory(run_dir)
    with exclusive_lock(run.lock, "starting or stopping the server"):
        running = read_state(run.state)
        if running is None:
            raise NotRunning("no server is running", mend="Start one: python -m serving up TARGET")
        target, options = Path(running.request["target"]), request_options(running)
        # Refuse what cannot work while the old one still serves; its memory is not free yet, so no plan.
        resolve_target(target, stamps=run.verified, full_check=options.full_check)
        console.print(f"stopping {running.model} {running.version or ''} (running requests finish)")
        stop(running)
        report(start(target, options, run, p.LAUNCHER.ready_timeout_s), "is up again")
