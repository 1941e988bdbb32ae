"""Run the launcher over the fake engine, as a process of its own that a test can kill.

python -m tests.integration.serving.run_launcher DIRECTORY [die]
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import typer

from quantserve.core.console import run_app
from quantserve.core.http.keys import digest
from quantserve.serving.config import LauncherOptions, ProbeOptions, RestartOptions
from quantserve.serving.guard.internal import use_internal_key
from quantserve.serving.guard.settings import VARIABLE, GuardSettings
from quantserve.serving.ports import url_of
from quantserve.serving.processes import start_ticks
from quantserve.serving.state import ServerState
from quantserve.serving.supervise.launcher import Launcher
from quantserve.serving.supervise.listener import Listener
from quantserve.serving.tls import Tls

ENGINE = "tests.integration.serving.fake_engine"
app = typer.Typer()


@app.command()
def main(
    directory: Path,
    mode: str = typer.Argument("live"),
    drain_s: float = 20.0,
    copies: int = 1,
    certificate: str = "",
) -> None:
    guard = GuardSettings.model_validate(
        {
            "limits": {"max_requests": 8},
            "artifact": {"name": "fake", "version": "v1", "method": "awq", "bits": 4},
            "internal_key_sha256": digest(use_internal_key(directory)),
        }
    )
    options = LauncherOptions(
        log=directory / "engine.log",
        ready_file=directory / "ready.json",
        drain_s=drain_s,
        stop_margin_s=1.0,
        orphan_grace_s=0.5,
        restart=RestartOptions(limit=2, first_delay_s=0.5),
        probe=ProbeOptions(interval_s=0.2, timeout_s=1.5, failures=2),
    )
    with Listener("127.0.0.1", 0) as listener:
        tls = Tls(certificate) if certificate else None
        listener.know(guard, tls)
        url = url_of("127.0.0.1", listener.port, tls=tls is not None)
        state = ServerState(
            status="starting",
            url=url,
            base_url=f"{url}/v1",
            host="127.0.0.1",
            port=listener.port,
            pid=os.getpid(),
            pid_start=start_ticks(os.getpid()) or 0,
            engine_pid=None,
            model="fake",
            target="/fake",
            version="v1",
            profile="cpu",
            dtype="float32",
            log=None,
            argv=[sys.executable, "-m", ENGINE, mode],
            env={
                VARIABLE: guard.model_dump_json(),
                "HOLD": str(directory / "hold"),
                "TLS": json.dumps(tls.uvicorn() if tls is not None else {}),
            },
            request={},
            started_at=time.time(),
            copies=copies,
            tls_certificate=certificate or None,
        )
        raise typer.Exit(Launcher(state, listener, directory / "state.json", options).run())


if __name__ == "__main__":
    run_app(app, "serving")
