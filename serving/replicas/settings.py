"""What the supervisor and the keepers of its parts are told, all in one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from quantserve.serving.background import serve_argv
from quantserve.serving.config import LauncherOptions, RunDirectory, ServeOptions
from quantserve.serving.replicas.config import FrontOptions, RouterOptions, SupervisorOptions
from quantserve.serving.replicas.replica import ServeArgv


@dataclass(frozen=True)
class Settings:
    """Everything the supervisor is told besides what a replica is."""

    options: ServeOptions
    run: RunDirectory
    launcher: LauncherOptions
    state_file: Path | None
    router: RouterOptions = field(default_factory=RouterOptions)
    front: FrontOptions = field(default_factory=FrontOptions)
    times: SupervisorOptions = field(default_factory=SupervisorOptions)
    serve: ServeArgv = serve_argv
    """Makes the command line of one replica."""
