"""Run the supervisor over servers without engines, as a process of its own that a test can kill.

python -m tests.integration.serving.replicas.run_supervisor TARGET RUN_DIR PORT [KEYS]
"""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from quantserve.core.console import run_app
from quantserve.serving.background import serve_argv
from quantserve.serving.config import LauncherOptions, RunDirectory, ServeOptions
from quantserve.serving.replicas.command import serve_replicas
from quantserve.serving.replicas.config import SupervisorOptions

app = typer.Typer()
TIMES = SupervisorOptions(watch_s=0.3, stop_margin_s=5.0, orphan_grace_s=1.0)


def fake_argv(target: Path, options: ServeOptions, run: RunDirectory, ready_timeout_s: float) -> list[str]:
    words = serve_argv(target, options, run, ready_timeout_s)
    return [sys.executable, "-m", "tests.integration.serving.replicas.fake_serve", *words[3:]]


@app.command()
def main(target: Path, run_dir: Path, port: int, keys: str = typer.Argument("")) -> None:
    run = RunDirectory(run_dir)
    options = ServeOptions(
        port=port, replicas=2, policy="cache_aware", keys=keys or None, served_model_name="tiny"
    )
    launcher = LauncherOptions(ready_file=run.path / "ready.json", log=run.log, ready_timeout_s=60)
    raise typer.Exit(serve_replicas(target, options, run, launcher, run.state, TIMES, fake_argv))


if __name__ == "__main__":
    run_app(app, "serving")
