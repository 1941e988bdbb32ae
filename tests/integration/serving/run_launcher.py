"""Run the launcher over the fake engine, as a process of its own that a test can kill.

python -m tests.integration.serving.run_launcher DIRECTORY [die]
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import typer

from core.console import run_app
from serving.config import LauncherOptions
from serving.launcher import Launcher
from serving.ports import claim_port, url_of
from serving.processes import start_ticks
from serving.state import ServerState

ENGINE = Path(__file__).with_name("fake_engine.py")
app = typer.Typer()


@app.command()
def main(directory: Path, mode: str = typer.Argument("live")) -> None:
    port = claim_port("127.0.0.1", 0)
    state = ServerState(
        status="starting",
        url=url_of("127.0.0.1", port),
        base_url=url_of("127.0.0.1", port) + "/v1",
        host="127.0.0.1",
        port=port,
        pid=os.getpid(),
        pid_start=start_ticks(os.getpid()) or 0,
        engine_pid=None,
        model="fake",
        target="/fake",
        version=None,
        profile="cpu",
        dtype="float32",
        log=None,
        argv=[sys.executable, str(ENGINE), str(port), mode],
        env={},
        request={},
        started_at=time.time(),
    )
    options = LauncherOptions(
        log=directory / "engine.log",
        ready_file=directory / "ready.json",
        stop_margin_s=1.0,
        orphan_grace_s=0.5,
        probe_interval_s=0.1,
    )
    raise typer.Exit(Launcher(state, directory / "state.json", 1.0, options).run())


if __name__ == "__main__":
    run_app(app, "serving")
