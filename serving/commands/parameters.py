"""The options several commands share, with defaults from the dataclasses in serving.config."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from serving.config import LauncherOptions, RunDirectory, ServeOptions

SERVE = ServeOptions()
LAUNCHER = LauncherOptions()
RUN = RunDirectory()

TargetArgument = Annotated[
    Path, typer.Argument(help="Artifact directory (or its `current` link) or checkpoint directory.")
]
VllmArgument = Annotated[
    list[str] | None, typer.Argument(help="After --: any vLLM flags; they win.", show_default=False)
]
HostOption = Annotated[str, typer.Option(help="Address to listen on.")]
PortOption = Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a spare one.")]
ProfileOption = Annotated[
    str | None, typer.Option(help="Profile name or YAML file. By default the hardware decides.")
]
NameOption = Annotated[str | None, typer.Option(help="Name clients use. By default the artifact's name.")]
FullCheckOption = Annotated[
    bool, typer.Option("--full-check", help="Hash every file of the artifact first, not only sizes.")
]
RunDirOption = Annotated[Path, typer.Option(help="Folder of state, log and hardware probe.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


def serve_options(
    host: str,
    port: int,
    profile: str | None,
    served_model_name: str | None,
    full_check: bool,
    vllm_args: list[str] | None,
) -> ServeOptions:
    """Gather the parameters of one server."""
    return ServeOptions(
        host=host,
        port=port,
        profile=profile,
        served_model_name=served_model_name,
        full_check=full_check,
        vllm_args=tuple(vllm_args or ()),
    )
